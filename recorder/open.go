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

// unpack returns the plain bytes of a segment, at most maxPlain of them.
func unpack(name string, stored []byte, identities []Identity) ([]byte, error) {
	if !encrypted(name) {
		return decompress(stored)
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
	return decompress(compressed)
}

// unzstd is safe for concurrent use by DecodeAll.
var unzstd = func() *zstd.Decoder {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxPlain))
	if err != nil {
		panic(err) // the options are wrong
	}
	return z
}()

// decompress returns the plain bytes of a segment, at most maxPlain of them.
func decompress(stored []byte) ([]byte, error) {
	plain, err := unzstd.DecodeAll(stored, nil)
	if err == nil && len(plain) > maxPlain || errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = fmt.Errorf("it becomes more than %d bytes", maxPlain)
	}
	return plain, err
}
