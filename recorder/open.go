package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/twokey/twokey/session"
)

// This file opens segments as they lie in the store: zstd, and age
// (age-encryption.org/v1) where recordings are for recipients alone.

// ErrEncrypted is returned, wrapped, for a recording that can not be read
// without an identity. It is the session's, like ErrNoRecording.
var ErrEncrypted = session.ErrEncrypted

// Identity opens what was encrypted for its recipient.
type Identity = age.Identity

// ParseIdentities reads a file of age-keygen's.
func ParseIdentities(file io.Reader) ([]Identity, error) { return age.ParseIdentities(file) }

// encrypted reports whether a segment of that name is.
func encrypted(name string) bool { return strings.HasSuffix(name, encryptedSuffix) }

// unpack returns the plain bytes of a segment, at most maxPlain of them; in the
// buffer, when there is one, which must be large enough.
func unpack(name string, stored []byte, identities []Identity, buffer []byte) ([]byte, error) {
	if !encrypted(name) {
		return decompress(stored, buffer)
	}
	if len(identities) == 0 {
		return nil, ErrEncrypted
	}
	opened, err := age.Decrypt(bytes.NewReader(stored), identities...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, ErrEncrypted
	}
	if err != nil {
		return nil, fmt.Errorf("decrypting: %w", err)
	}
	compressed, err := io.ReadAll(opened) // not longer than what is stored
	if err != nil {
		return nil, fmt.Errorf("decrypting: %w", err)
	}
	return decompress(compressed, buffer)
}

// unzstd and unzstdWithin are safe for concurrent use by DecodeAll. The latter takes no
// more than the capacity of what it is given.
var (
	unzstd       = newUnzstd()
	unzstdWithin = newUnzstd(zstd.WithDecodeAllCapLimit(true))
)

func newUnzstd(more ...zstd.DOption) *zstd.Decoder {
	z, err := zstd.NewReader(nil, append(more, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxPlain))...)
	if err != nil {
		panic(err) // the options are wrong
	}
	return z
}

// decompress returns the plain bytes of a segment, at most maxPlain of them; in the
// buffer, when there is one, which must be large enough.
func decompress(stored, buffer []byte) ([]byte, error) {
	z := unzstd
	if buffer != nil {
		z = unzstdWithin
	}
	plain, err := z.DecodeAll(stored, buffer[:0])
	if err == nil && len(plain) > maxPlain || errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = errTooMuch
	}
	return plain, err
}

// errTooMuch is of a segment that becomes more than it may.
var errTooMuch = fmt.Errorf("it becomes more than it says, or more than %d bytes", maxPlain)
