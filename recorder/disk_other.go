//go:build !linux

package recorder

import (
	"errors"
	"os"
)

// lockDir is there where a bastion records. Elsewhere this package only reads.
func lockDir(string) (*os.File, error) {
	return nil, errors.New("recordings are made on Linux; here they can be read")
}

func openDisk(string) (*os.File, error) { return nil, nil }

func syncDisk(*os.File) error { return errors.ErrUnsupported }
