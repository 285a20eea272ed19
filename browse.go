package aigateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// The bounds of one look at the records. With them it holds about 100 MiB at most: a
// line, its longest text, and that in lower case.
const (
	maxBrowsedLine  = 32 << 20  // bytes; longer ones are passed over
	maxBrowsedBytes = 512 << 20 // when unpacked; half for packed files
	browsedPage     = 25        // exchanges, if no limit is given
	maxBrowsedPage  = 100
)

// maxBrowsedTime is how long one look may take. It is a variable for tests, which share
// their processors with browsers.
var maxBrowsedTime = 5 * time.Second

// errBound is returned when a search may read no more.
var errBound = errors.New("the search is at its bound")

// recordSearch looks for exchanges in the hourly files below a data_dir, from the
// newest backwards. It opens files to read only, and takes no lock.
type recordSearch struct {
	dir    string
	filter page.Filter
	limit  int
	most   int64 // bytes that may be read
	until  time.Time
	ctx    context.Context

	needle  []byte // filter.Text in lower case
	spent   int64
	packing bool      // a packed file is read: only half of the bounds
	half    time.Time // of until
	hours   int       // that have been begun
	bound   string
	skipped page.Skipped
	result  page.Recordings

	line, meta, text, lower []byte // buffers
}

// run returns the newest exchanges before filter.Before that match.
func (s *recordSearch) run() (*page.Recordings, error) {
	s.needle = appendLower(nil, []byte(s.filter.Text))
	s.half = time.Now().Add(time.Until(s.until) / 2)
	s.result.Exchanges = make([]page.Exchange, 0, s.limit)
	hours, err := listRecordHours(s.dir)
	if err != nil {
		return nil, err
	}
	order := slices.Sorted(maps.Keys(hours))
	slices.Reverse(order)
	if s.filter.Before != "" {
		hour, places, ok := parsePlaces(s.filter.Before)
		if !ok {
			return nil, invalidParameter("before", "got "+quote(s.filter.Before)+", want the before of an answer")
		}
		if len(places) > 0 {
			s.hour(hour, places)
		} else { // all of it
			hour++
		}
		order = slices.DeleteFunc(order, func(h hourly.Hour) bool { return h >= hour })
	}
	for _, hour := range order {
		if s.result.Before != "" {
			break
		}
		if len(s.result.Exchanges) == s.limit || s.bound != "" {
			s.result.Before = formatPlaces(hour)
			break
		}
		places := make([]recordPlace, 0, len(hours[hour]))
		for _, n := range hours[hour] {
			places = append(places, recordPlace{n, -1})
		}
		s.hour(hour, places)
	}
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	s.result.Bound, s.result.Skipped = s.bound, s.skipped
	return &s.result, nil
}

// hour adds what matches of an hour's files before their places, and says in
// result.Before where to go on if that is not all.
func (s *recordSearch) hour(hour hourly.Hour, places []recordPlace) {
	s.hours++
	if len(places) > maxPlaces {
		for _, p := range places[maxPlaces:] {
			s.cannot(p.recordName, "the hour has too many files")
		}
		places = places[:maxPlaces]
	}
	reels := make([]reel, len(places))
	heads := make([]*found, len(places))
	for n, p := range places {
		if p.offset == 0 {
			continue
		}
		r, err := newReel(s.dir, p.recordName, p.offset)
		if err != nil {
			s.cannot(p.recordName, err.Error())
			continue
		}
		defer r.close()
		reels[n] = r
	}
	// Packed files first: what they cost does not depend on where the others stand.
	turn := make([]int, 0, len(reels))
	for _, packed := range []bool{true, false} {
		for n, r := range reels {
			if _, is := r.(*packedReel); r != nil && is == packed {
				turn = append(turn, n)
			}
		}
	}
	for len(s.result.Exchanges) < s.limit {
		for _, n := range turn {
			if reels[n] != nil && heads[n] == nil && s.bound == "" {
				s.advance(places[n].recordName, &reels[n], &heads[n])
			}
		}
		// A search that has got nowhere takes what it has, or the next would get no further.
		if s.bound != "" && (s.hours > 1 || len(s.result.Exchanges) > 0) {
			break
		}
		newest := -1
		for n, h := range heads {
			if h != nil && (newest < 0 || h.Time.After(heads[newest].Time)) {
				newest = n
			}
		}
		if newest < 0 && s.bound == "" {
			return // all of it
		}
		if newest < 0 {
			break
		}
		h := heads[newest]
		h.At = formatPlaces(hour, recordPlace{places[newest].recordName, h.start})
		s.result.Exchanges = append(s.result.Exchanges, h.Exchange)
		heads[newest] = nil
	}
	if s.bound != "" {
		s.result.Reached = hour.String()
	}
	s.result.Before = goOn(hour, places, reels, heads)
}

// advance gets the next exchange of a reel. One that has ended, or cannot be read, is
// nil from then on.
func (s *recordSearch) advance(n recordName, r *reel, head **found) {
	next, err := (*r).back(s)
	*head = next
	_, packed := (*r).(*packedReel)
	switch {
	case errors.Is(err, errBound) && packed && s.hours == 1 && s.ctx.Err() == nil:
		// A search that begins with this file again would end here again.
		s.cannot(n, "it is packed, and more than one search may read")
		*r = nil
	case errors.Is(err, errBound):
	case err != nil:
		s.cannot(n, err.Error())
		*r = nil
	case next == nil:
		*r = nil
	}
}

// goOn returns the places before which an hour has not been looked at, nothing if
// there are none.
func goOn(hour hourly.Hour, places []recordPlace, reels []reel, heads []*found) string {
	var rest []recordPlace
	for n, p := range places {
		p.offset = 0
		if heads[n] != nil {
			p.offset = heads[n].end
		} else if reels[n] != nil {
			p.offset = reels[n].before()
		}
		if p.offset != 0 {
			rest = append(rest, p)
		}
	}
	if len(rest) == 0 {
		return ""
	}
	return formatPlaces(hour, rest...)
}

// cannot notes a file that is passed over.
func (s *recordSearch) cannot(n recordName, why string) {
	const most = 20
	if len(s.skipped.Files) < most {
		why = strings.ReplaceAll(why, s.dir+string(filepath.Separator), "")
		s.skipped.Files = append(s.skipped.Files, n.String()+": "+why)
	}
}

// spend notes bytes that have been read.
func (s *recordSearch) spend(n int) error {
	s.spent += int64(n)
	return s.allowed()
}

// allowed returns errBound if the search may not go on.
func (s *recordSearch) allowed() error {
	most, until := s.most, s.until
	if s.packing {
		most, until = most/2, s.half
	}
	switch {
	case s.spent > most:
		s.bound = "bytes"
	case s.ctx.Err() != nil || time.Now().After(until):
		s.bound = "time"
	default:
		return nil
	}
	return errBound
}

// listRecordHours returns the hours with files below dir, and these files. Where a
// folder does not exist there are none.
func listRecordHours(dir string) (map[hourly.Hour][]recordName, error) {
	hours := make(map[hourly.Hour][]recordName)
	for _, folder := range recordFolders {
		known := make(map[hourly.Name]bool) // a file that is just being packed is there twice
		for _, sibling := range []string{folder, folder + hourly.CompressedSuffix} {
			entries, err := os.ReadDir(filepath.Join(dir, sibling))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("reading records: %w", err)
			}
			for _, entry := range entries {
				base := entry.Name()
				if sibling != folder {
					ext := filepath.Ext(base)
					if ext != ".zst" && ext != ".gz" {
						continue
					}
					base = strings.TrimSuffix(base, ext)
				}
				name, ok := hourly.ParseName(base)
				if ok && name.Ext == ".jsonl" && !entry.IsDir() && !known[name] {
					known[name] = true
					hours[name.Hour] = append(hours[name.Hour], recordName{folder, name})
				}
			}
		}
	}
	for _, files := range hours {
		slices.SortFunc(files, func(a, b recordName) int {
			return cmp.Or(cmp.Compare(a.folder, b.folder), cmp.Compare(a.name.Suffix, b.name.Suffix), cmp.Compare(b.name.Index, a.name.Index))
		})
	}
	return hours, nil
}

// errNoRecord is returned when there is no record at a place.
var errNoRecord = errors.New("there is no record at that place")

// readRecord returns the line at a place. It stops at ctx's end, and returns
// errNoRecord if no line begins there.
func (s *recordSearch) readRecord(p recordPlace) ([]byte, error) {
	r, err := openRecordFile(s.dir, p.recordName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoRecord
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.close() }() // only read
	at := int64(0)
	if r.file.packed == "" && p.offset > 0 {
		at = p.offset - 1
		if at >= r.file.size {
			return nil, errNoRecord
		}
		if _, err := r.on.Seek(at, 0); err != nil {
			return nil, r.file.failed(err)
		}
		r.reader.Reset(r.on)
	}
	for {
		start := at
		size, whole, err := r.within(s, maxBrowsedLine)
		if err != nil {
			return nil, err
		}
		at += size
		switch {
		case !whole || start > p.offset:
			return nil, errNoRecord
		case start == p.offset && size-1 > maxBrowsedLine:
			return nil, errNoRecord
		case start == p.offset:
			return s.line, nil
		}
	}
}
