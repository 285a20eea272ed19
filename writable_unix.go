//go:build linux || darwin || freebsd

package aigateway

import "golang.org/x/sys/unix"

// mayWrite returns why this process may make no file in the folder at path, or nil.
func mayWrite(path string) error { return unix.Access(path, unix.W_OK|unix.X_OK) }
