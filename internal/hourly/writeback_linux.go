package hourly

import (
	"os"

	"golang.org/x/sys/unix"
)

// forget takes the whole pages of f out of the page cache, as far as they are on
// the disk. The last one is to be written to again.
func forget(f *os.File) {
	const page = 4096
	if info, err := f.Stat(); err == nil && info.Size() >= page {
		// It is an advice: if it is not taken, nothing is lost.
		_ = unix.Fadvise(int(f.Fd()), 0, info.Size()&^(page-1), unix.FADV_DONTNEED)
	}
}

// StartSync is an advice too: what goes wrong the next Sync tells.
func (f hostFile) StartSync() {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}
