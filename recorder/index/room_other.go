//go:build !linux

package index

// room is asked for where a bastion records; elsewhere the disk is an auditor's own.
func (x *Index) room() error { return nil }
