package aigateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/simpleaigateway/caddy-ai-gateway/internal/hourly"
	"github.com/simpleaigateway/caddy-ai-gateway/internal/page"
)

// A reel gives the exchanges of a file that a search wants, the newest first.
type reel interface {
	// back returns the next older one, nil if there is none. Its error is errBound if
	// the search may read no more.
	back(s *recordSearch) (*found, error)
	// before is the offset before which nothing has been looked at, or not returned.
	before() int64
	close()
}

// found is an exchange that a search wants, with where its line begins and ends.
type found struct {
	page.Exchange
	start, end int64
}

// openRecordFile opens a file, packed if it is so by now.
func openRecordFile(dir string, n recordName) (*recordReader, error) {
	f := recordFile{folder: n.folder, name: n.name}
	for _, f.packed = range []string{"", ".zst", ".gz"} {
		f.path = filepath.Join(dir, n.folder, n.name.String())
		if f.packed != "" {
			f.path = filepath.Join(dir, n.folder+hourly.CompressedSuffix, n.name.String()+f.packed)
		}
		info, err := os.Stat(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, f.failed(err)
		}
		f.size = info.Size()
		r, err := f.open()
		if err == nil {
			return r, nil
		}
		if _, gone := os.Stat(f.path); !errors.Is(gone, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fs.ErrNotExist
}

// newReel opens a file for the part before end; all of it if end is negative.
func newReel(dir string, n recordName, end int64) (reel, error) {
	r, err := openRecordFile(dir, n)
	if err != nil {
		return nil, err
	}
	if r.file.packed != "" {
		return &packedReel{reader: r, end: end}, nil
	}
	if end < 0 || end > r.file.size {
		end = r.file.size
	}
	return &plainReel{reader: r, end: end}, nil
}

// plainReel reads a file backwards.
type plainReel struct {
	reader *recordReader
	end    int64 // of what is still to be read

	chunk   [64 << 10]byte
	chunkAt int64
	chunkN  int
}

func (p *plainReel) before() int64 { return p.end }
func (p *plainReel) close()        { _ = p.reader.close() } // only read

func (p *plainReel) back(s *recordSearch) (*found, error) {
	for p.end > 0 {
		if err := s.allowed(); err != nil {
			return nil, err
		}
		feed, err := p.lineFeed(s, p.end) // what is behind it is half written
		if err != nil {
			return nil, err
		}
		if p.end = feed + 1; feed < 0 {
			return nil, nil
		}
		start, err := p.lineFeed(s, feed)
		if err != nil {
			if feed-p.chunkAt > maxBrowsedLine { // or the next search would end at this line as well
				s.skipped.Long++
				p.end = p.chunkAt
			}
			return nil, err
		}
		start++
		end := p.end
		if feed-start > maxBrowsedLine {
			s.skipped.Long++
			p.end = start
			continue
		}
		s.line = slices.Grow(s.line[:0], int(feed-start))[:feed-start]
		if _, err := p.reader.on.ReadAt(s.line, start); err != nil {
			return nil, p.reader.file.failed(err)
		}
		p.end = start
		if e := s.match(s.line); e != nil {
			return &found{*e, start, end}, nil
		}
	}
	return nil, nil
}

// lineFeed returns the place of the last line feed before end, -1 if there is none.
func (p *plainReel) lineFeed(s *recordSearch, end int64) (int64, error) {
	for end > 0 {
		if end <= p.chunkAt || end > p.chunkAt+int64(p.chunkN) {
			p.chunkAt = max(0, end-int64(len(p.chunk)))
			p.chunkN = int(end - p.chunkAt)
			if _, err := p.reader.on.ReadAt(p.chunk[:p.chunkN], p.chunkAt); err != nil {
				return 0, p.reader.file.failed(err)
			}
			if err := s.spend(p.chunkN); err != nil {
				return 0, err
			}
		}
		if n := bytes.LastIndexByte(p.chunk[:end-p.chunkAt], '\n'); n >= 0 {
			return p.chunkAt + int64(n), nil
		}
		end = p.chunkAt
	}
	return -1, nil
}

// packedReel reads a packed file forwards, once, and keeps as many exchanges as a
// search returns at most.
type packedReel struct {
	reader *recordReader
	end    int64 // of what is to be read; negative for all

	read bool
	kept []*found // oldest first
	more bool     // there are older ones that match
	rest int64    // before
}

func (p *packedReel) close() { _ = p.reader.close() } // only read

func (p *packedReel) before() int64 {
	switch {
	case !p.read:
		return p.end
	case len(p.kept) > 0:
		return p.kept[len(p.kept)-1].end
	case p.more:
		return p.rest
	default:
		return 0
	}
}

func (p *packedReel) back(s *recordSearch) (*found, error) {
	if !p.read {
		s.packing = true
		err := p.scan(s)
		s.packing = false
		if err != nil {
			return nil, err
		}
		p.read = true
	}
	if len(p.kept) == 0 {
		return nil, nil
	}
	last := len(p.kept) - 1
	f := p.kept[last]
	p.kept, p.rest = p.kept[:last], f.start
	return f, nil
}

func (p *packedReel) scan(s *recordSearch) error {
	at := int64(0)
	for p.end < 0 || at < p.end {
		size, whole, err := p.reader.within(s, maxBrowsedLine)
		if err != nil {
			return err
		}
		if !whole {
			return nil // the end; a last line without line feed is half written
		}
		start := at
		at += size
		if size-1 > maxBrowsedLine {
			s.skipped.Long++
			continue
		}
		e := s.match(s.line)
		if e == nil {
			continue
		}
		if len(p.kept) == s.limit {
			p.kept, p.more = p.kept[1:], true
		}
		p.kept = append(p.kept, &found{*e, start, at})
	}
	return nil
}

// within reads the next line into s.line, but no more of it than most bytes, and
// returns its size with the line feed. Whole is false at the end of the file.
func (r *recordReader) within(s *recordSearch, most int) (size int64, whole bool, err error) {
	s.line = s.line[:0]
	for {
		piece, err := r.reader.ReadSlice('\n')
		size += int64(len(piece))
		if len(s.line)+len(piece) <= most+1 {
			s.line = append(s.line, piece...)
		}
		switch {
		case err == nil:
			s.line = bytes.TrimSuffix(s.line, []byte{'\n'})
			return size, true, s.spend(len(piece))
		case errors.Is(err, io.EOF):
			return size, false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return size, false, r.file.failed(err)
		}
		if err := s.spend(len(piece)); err != nil {
			return size, false, err
		}
	}
}
