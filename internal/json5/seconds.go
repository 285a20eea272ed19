package json5

import (
	"errors"
	"time"
)

// Seconds is a time that a file gives as a number of seconds or as a text such as
// "1m30s": 0 to 10 years.
type Seconds time.Duration

// UnmarshalValue reads v, a value of the file.
func (s *Seconds) UnmarshalValue(v any) error {
	switch v := v.(type) {
	case nil:
		return nil
	case int64:
		return s.set(float64(v) * float64(time.Second))
	case float64:
		return s.set(v * float64(time.Second))
	case string:
		d, err := time.ParseDuration(v)
		if err != nil {
			return errors.New(`got a text that is no duration, want seconds or a text such as "1m30s"`)
		}
		return s.set(float64(d))
	default:
		return errors.New(`got a boolean, want seconds or a text such as "1m30s"`)
	}
}

// set takes d nanoseconds.
func (s *Seconds) set(d float64) error {
	const longest = 10 * 365 * 24 * time.Hour
	if d < 0 || d > float64(longest) {
		return errors.New("got a time outside of 0 to 10 years")
	}
	*s = Seconds(d)
	return nil
}

var _ Unmarshaler = (*Seconds)(nil)
