package store

// Cramped is a store whose listings end sooner, so that a test need not wait for a
// million entries.
func Cramped(s *S3, entries, bytes int) *S3 {
	s.listing = room{entries: entries, bytes: bytes}
	return s
}
