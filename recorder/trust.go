package recorder

import (
	"bytes"
	"fmt"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// This file judges signatures.

// checkSignature returns nil when one of the keys signed the message, and
// otherwise what is wrong, in words.
func checkSignature(keys []ssh.PublicKey, namespace string, message, armored []byte) error {
	sig, err := sshsig.Unarmor(armored)
	if err != nil {
		return fmt.Errorf("the signature can not be read: %w", err)
	}
	if !bytes.Equal(sshsig.Armor(sig), armored) {
		return fmt.Errorf("the signature has something added to it or is written in another way than it was")
	}
	for _, key := range keys {
		if !bytes.Equal(key.Marshal(), sig.PublicKey.Marshal()) {
			continue
		}
		if err := sshsig.Verify(bytes.NewReader(message), sig, key, sshsig.HashSHA512, namespace); err != nil {
			return fmt.Errorf("the signature does not fit")
		}
		return nil
	}
	return fmt.Errorf("it is signed with the key %s, which is not one of those trusted", ssh.FingerprintSHA256(sig.PublicKey))
}
