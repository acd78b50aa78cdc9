package recorder

import (
	"bytes"
	"fmt"

	"filippo.io/age"
)

// This file closes segments, for recipients alone; open.go opens them.

// Recipient is somebody a recording is encrypted for.
type Recipient = age.Recipient

// ParseRecipient reads a recipient: age1….
func ParseRecipient(text string) (Recipient, error) { return age.ParseX25519Recipient(text) }

func encrypt(plain []byte, to []Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	return out.Bytes(), nil
}
