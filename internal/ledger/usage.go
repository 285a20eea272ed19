package ledger

import "time"

// Usage is what an account has used.
type Usage struct {
	Requests   int64 `json:"requests"`
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Cost       int64 `json:"cost_micros"` // in millionths of the unit of the prices
}

// Tokens returns those of prompts and completions.
func (u Usage) Tokens() int64 { return u.Prompt + u.Completion }

// Plus returns the sum of both.
func (u Usage) Plus(more Usage) Usage {
	u.add(more)
	return u
}

func (u *Usage) add(more Usage) {
	u.Requests += more.Requests
	u.Prompt += more.Prompt
	u.Completion += more.Completion
	u.Cost += more.Cost
}

// Day is a date as a number, such as 20261129. A day of 0 stands for the days of its
// month that are kept together, as 20260900.
type Day int32

// DayOf returns the date of t, in t's own zone.
func DayOf(t time.Time) Day {
	year, month, day := t.Date()
	return Day(year*10_000 + int(month)*100 + day)
}

// Month returns the day that stands for the whole month of d.
func (d Day) Month() Day { return d - d%100 }

// monthsBefore returns the month n months before that of d.
func (d Day) monthsBefore(n int) Day {
	months := int(d/10_000)*12 + int(d/100%100) - 1 - n
	return Day(months/12*10_000 + (months%12+1)*100)
}

// Days are kept apart in this month and the one before, months for a year.
const (
	daysKept   = 1
	monthsKept = 12
)

// kept returns the day under which what was used at d is kept at today, and false if
// it is too old to be.
func (d Day) kept(today Day) (Day, bool) {
	switch {
	case d < today.monthsBefore(monthsKept):
		return 0, false
	case d < today.monthsBefore(daysKept):
		return d.Month(), true
	}
	return d, true
}

// Entry is what an account has used of one model on a day.
type Entry struct {
	Account string `json:"account"`
	Model   string `json:"model"`
	Day     Day    `json:"day"`
	Usage
}

// cell is the place of a sum in an account.
type cell struct {
	day   Day
	model string
}

// place is that of a sum among all.
type place struct {
	account string
	cell
}

// sums adds entries up.
type sums map[place]Usage

func (s sums) add(e Entry) {
	p := place{e.Account, cell{e.Day, e.Model}}
	sum := s[p]
	sum.add(e.Usage)
	s[p] = sum
}

func (s sums) entries() []Entry {
	all := make([]Entry, 0, len(s))
	for p, u := range s {
		all = append(all, Entry{p.account, p.model, p.day, u})
	}
	return all
}
