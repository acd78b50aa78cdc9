package recorder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// This file judges signatures.

// KeyUntil is a key that proves only what was signed before some moment, by the
// time that stands in what was signed: a manifest's end, an entry's time. So a key
// that was replaced, and got into other hands later, buries and forges nothing: what
// it dates back fits into no ledger that went on.
func KeyUntil(key ssh.PublicKey, moment time.Time) ssh.PublicKey { return endedKey{key, moment} }

type endedKey struct {
	ssh.PublicKey
	until time.Time
}

// counts says why a key does not prove a message that it signed, or nil.
func counts(key ssh.PublicKey, namespace string, message []byte) error {
	ended, is := key.(endedKey)
	if !is {
		return nil
	}
	var signed struct{ Ended, Time time.Time } // of a manifest, of an entry
	if err := json.Unmarshal(message, &signed); err != nil {
		return fmt.Errorf("it says no time at which it was signed: %w", err)
	}
	at := signed.Time // each by its own: the other may be there too, and say anything
	if namespace == ManifestNamespace {
		at = signed.Ended
	}
	if at.IsZero() || !at.Before(ended.until) {
		return fmt.Errorf("it is of %s and signed with the key %s, which counts for what is from before %s",
			at.UTC().Format(time.RFC3339), ssh.FingerprintSHA256(key), ended.until.UTC().Format(time.RFC3339))
	}
	return nil
}

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
		return counts(key, namespace, message)
	}
	return fmt.Errorf("it is signed with the key %s, which is not one of those trusted", ssh.FingerprintSHA256(sig.PublicKey))
}
