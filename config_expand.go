package aigateway

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// expandPlaceholders replaces {env.NAME} and {file.PATH} in s. Other braces stay
// as they are. An error names what is missing and never shows a value.
func expandPlaceholders(s, dir string) (string, error) {
	var out strings.Builder
	for {
		start := strings.IndexByte(s, '{')
		if start < 0 {
			break
		}
		end := strings.IndexByte(s[start:], '}')
		if end < 0 {
			break
		}
		name := s[start+1 : start+end]
		value, known, err := placeholder(name, dir)
		if err != nil {
			return "", &placeholderError{name, err}
		}
		out.WriteString(s[:start])
		if known {
			out.WriteString(value)
			s = s[start+end+1:]
		} else {
			out.WriteByte('{')
			s = s[start+1:]
		}
	}
	out.WriteString(s)
	return out.String(), nil
}

// placeholderError is returned when nothing can be put in the place of {name}.
type placeholderError struct {
	name  string
	cause error
}

func (e *placeholderError) Error() string { return e.cause.Error() }

func (e *placeholderError) Unwrap() error { return e.cause }

func placeholder(name, dir string) (value string, known bool, err error) {
	if variable, ok := strings.CutPrefix(name, "env."); ok {
		if value, ok = os.LookupEnv(variable); !ok {
			return "", true, fmt.Errorf("environment variable %s is not set", variable)
		}
		return value, true, nil
	}
	path, ok := strings.CutPrefix(name, "file.")
	if !ok {
		return "", false, nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	text, err := readRegular(path, maxSecretFile)
	if err != nil {
		return "", true, fmt.Errorf("file placeholder: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), true, nil
}

// readRegular returns the content of a regular file of at most limit bytes. It
// waits for nothing else: a FIFO would block for ever.
func readRegular(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path) //nolint:gosec // the configuration names it
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // as above; it may be another one by now
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	text := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	if n, err := text.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	} else if n > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return text.Bytes(), nil
}
