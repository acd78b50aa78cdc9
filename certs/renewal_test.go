package certs_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/certs"
)

// moody is a CA that does not always sign.
type moody struct {
	ssh.Signer
	away atomic.Bool
}

func (m *moody) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	if m.away.Load() {
		return nil, errors.New("the token is out")
	}
	return m.Signer.Sign(random, data)
}

// A bastion that runs for months shows a certificate that is good, also when the CA is
// away for a while.
func TestTheHostCertificateIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := &moody{Signer: newKey(t)}
		a, _ := newAuthority(t, func(o *certs.Options) { o.HostCA = ca })
		h, err := a.NewHost(newKey(t), []string{"bastion.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		good := func() bool {
			cert := h.PublicKey().(*ssh.Certificate)
			now := uint64(time.Now().Unix())
			return now >= cert.ValidAfter && now < cert.ValidBefore
		}
		ctx, end := context.WithCancel(t.Context())
		var renewed, failed atomic.Int32
		go h.KeepCertified(ctx, func(_ time.Time, err error) {
			if err != nil {
				failed.Add(1)
			} else {
				renewed.Add(1)
			}
		})
		defer synctest.Wait()
		defer end()
		first := h.PublicKey().(*ssh.Certificate)
		for range 59 {
			time.Sleep(24 * time.Hour)
		}
		if renewed.Load() != 0 || h.PublicKey().(*ssh.Certificate) != first {
			t.Errorf("renewed %d times in 59 days", renewed.Load())
		}
		ca.away.Store(true)
		for range 20 {
			time.Sleep(24 * time.Hour)
		}
		if failed.Load() < 10 || renewed.Load() != 0 || !good() {
			t.Errorf("while the CA is away: failed %d, renewed %d, good %v", failed.Load(), renewed.Load(), good())
		}
		ca.away.Store(false)
		for range 300 {
			time.Sleep(24 * time.Hour)
			if !good() {
				t.Fatal("the host has no good certificate")
			}
		}
		if n := renewed.Load(); n < 4 || n > 6 {
			t.Errorf("renewed %d times in 300 days", n)
		}
		data := []byte("a handshake")
		signature, err := h.Sign(nil, data)
		if err != nil || h.PublicKey().(*ssh.Certificate).Key.Verify(data, signature) != nil {
			t.Errorf("signs with another key than it shows: %v", err)
		}
	})
}
