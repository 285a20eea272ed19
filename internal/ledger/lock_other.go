//go:build !linux && !darwin && !freebsd

package ledger

import "os"

// lockFile does nothing: two processes must not be given the same folder.
func lockFile(*os.File) error { return nil }

// syncFolder does nothing: folders cannot be synced.
func syncFolder(string) error { return nil }
