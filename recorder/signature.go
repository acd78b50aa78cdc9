package recorder

import (
	"bytes"
	"fmt"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// This file signs. Signatures are OpenSSH's (PROTOCOL.sshsig), so that ssh-keygen
// -Y verify can judge them; trust.go does it, too.

// sign returns the armored signature of the message.
func sign(key ssh.Signer, namespace string, message []byte) ([]byte, error) {
	sig, err := sshsig.Sign(bytes.NewReader(message), key, sshsig.HashSHA512, namespace)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return sshsig.Armor(sig), nil
}
