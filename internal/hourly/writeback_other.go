//go:build !linux

package hourly

import "os"

func forget(*os.File) {}

// StartSync does nothing: the kernel begins by itself, if later.
func (hostFile) StartSync() {}
