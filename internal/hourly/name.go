package hourly

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Series names one run of hourly files below a root directory:
//
//	Series{"requests_responses_media", ".image", ".jsonl"}
//	→ requests_responses_media/20260314_15.image.jsonl
type Series struct {
	// Folder is one directory below the root: a to z, digits and underscores.
	Folder string
	// Suffix stands between hour and extension: empty, or a dot followed by a to z
	// and plus signs, such as ".audio+image".
	Suffix string
	// Ext is the extension: ".jsonl" or ".log". There are no others, so that what a
	// person puts beside the files, 20260314_15.jsonl.bak, is never taken for one.
	Ext string
}

// isExt reports whether hourly files have the extension.
func isExt(s string) bool { return s == ".jsonl" || s == ".log" }

// valid reports whether s names files inside the root only, and such as
// [ParseName] knows again. The names that the package uses itself are taken.
func (s Series) valid() bool {
	return s.Folder != "" && s.Folder != tornFolder && !strings.HasSuffix(s.Folder, CompressedSuffix) &&
		only(s.Folder, "_", true) && (s.Suffix == "" || dotted(s.Suffix)) && isExt(s.Ext)
}

// Hour is an hour as the clock on the wall shows it, as the number YYYYMMDDHH. When
// clocks are set back, two hours have one number.
type Hour int

// HourOf returns the hour that a clock in the location shows at t. It goes by the
// clock's fields: rounding the instant would cut at xx:45 in Kathmandu.
func HourOf(t time.Time, in *time.Location) Hour {
	t = t.In(in)
	year, month, day := t.Date()
	return Hour(((year*100+int(month))*100+day)*100 + t.Hour())
}

// Start returns the instant at which the hour begins in the location: one of two
// for an hour that the clock shows twice, and a neighbour of one that it skips.
func (h Hour) Start(in *time.Location) time.Time {
	n := int(h)
	return time.Date(n/1000000, time.Month(n/10000%100), n/100%100, n%100, 0, 0, 0, in)
}

// String returns the hour as it stands in file names: YYYYMMDD_HH.
func (h Hour) String() string { return fmt.Sprintf("%08d_%02d", int(h)/100, int(h)%100) }

// Name is the name of an hourly file without its folder.
type Name struct {
	Hour   Hour
	Suffix string // as in [Series]
	Index  int    // 1, or the number behind the hyphen, from 2
	Ext    string // as in [Series]
}

// String returns the name, such as 20260314_15.image-2.jsonl.
func (n Name) String() string {
	index := ""
	if n.Index > 1 {
		index = "-" + strconv.Itoa(n.Index)
	}
	return n.Hour.String() + n.Suffix + index + n.Ext
}

// ParseName reads the name of an hourly file; ok is false for every other name,
// that is for files that are not ours. A name that parses is the String of what it
// parses to.
func ParseName(s string) (n Name, ok bool) {
	if len(s) < len("YYYYMMDD_HH.log") || s[8] != '_' {
		return Name{}, false
	}
	day, ok1 := number(s[:8])
	hour, ok2 := number(s[9:11])
	if !ok1 || !ok2 {
		return Name{}, false
	}
	n = Name{Hour: Hour(day*100 + hour), Index: 1}
	if HourOf(n.Hour.Start(time.UTC), time.UTC) != n.Hour {
		return Name{}, false // the 31st of June, or hour 24
	}
	stem := s[11:]
	dot := strings.LastIndexByte(stem, '.')
	if dot < 0 || !isExt(stem[dot:]) {
		return Name{}, false
	}
	stem, n.Ext = stem[:dot], stem[dot:]
	if hyphen := strings.LastIndexByte(stem, '-'); hyphen >= 0 {
		index, ok := number(stem[hyphen+1:])
		if !ok || index < 2 || stem[hyphen+1] == '0' {
			return Name{}, false
		}
		stem, n.Index = stem[:hyphen], index
	}
	n.Suffix = stem
	return n, stem == "" || dotted(stem)
}

// number reads one to eight decimal digits, nothing else.
func number(s string) (int, bool) {
	if len(s) == 0 || len(s) > 8 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// dotted reports whether s is a dot followed by at least one of a to z and plus.
func dotted(s string) bool {
	return len(s) > 1 && s[0] == '.' && only(s[1:], "+", false)
}

// only reports whether s consists of a to z, of more and, if wanted, of digits.
func only(s, more string, digits bool) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (!digits || c < '0' || c > '9') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}
