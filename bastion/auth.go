package bastion

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/session"
)

// This file is the handshake: which algorithms, which proofs, and how somebody
// without a certificate is sent to the identity provider and back.

// Authority judges and issues certificates. Errors of Identify are sentences
// for the person who showed the certificate.
type Authority interface {
	// Identify makes the identity of a certificate that passes every check.
	// from is the client's address, host:port.
	Identify(cert *ssh.Certificate, from string) (session.Identity, error)
	// Issue signs a certificate for a person who has just logged in.
	Issue(who session.Identity, key ssh.PublicKey) (*ssh.Certificate, error)
}

// LoginDesk turns a browser login into an identity.
type LoginDesk interface {
	// Begin starts a login for a connection and returns the link to open.
	Begin(from, fingerprint string) (id, url string, err error)
	// Cancel forgets a login that will not be redeemed.
	Cancel(id string)
	// Redeem takes the code that the page showed. The error is a sentence for
	// the person, who may try again; the desk counts how often.
	Redeem(ctx context.Context, id, code string) (session.Identity, error)
}

// version is what a client sees before anything else: no number that would
// tell an attacker what to try.
const version = "SSH-2.0-twokey"

// maxAuthTries bounds failures before the client is hung up on: an agent full
// of keys and other people's certificates must still get through.
const maxAuthTries = 20

// config makes the x/crypto configuration for this connection.
func (c *connection) config() *ssh.ServerConfig {
	return &ssh.ServerConfig{
		Config: ssh.Config{
			KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
			Ciphers:      []string{ssh.CipherAES256GCM, ssh.CipherAES128GCM, ssh.CipherChaCha20Poly1305},
			MACs:         []string{ssh.HMACSHA512ETM, ssh.HMACSHA256ETM},
		},
		PublicKeyAuthAlgorithms: []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
			ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		},
		ServerVersion: version,
		MaxAuthTries:  maxAuthTries,
		// gliderlabs/ssh turns "none" on when it has no handlers of its own.
		NoClientAuthCallback: func(ssh.ConnMetadata) (*ssh.Permissions, error) {
			return nil, errors.New("nobody comes in without proof")
		},
		PublicKeyCallback:           c.offered,
		VerifiedPublicKeyCallback:   c.proven,
		KeyboardInteractiveCallback: c.login(nil),
		AuthLogCallback:             c.attempt,
	}
}

// logged is how much of an error goes into the log, in characters: those of the
// handshake repeat what a stranger sent, of which they may send megabytes.
const logged = 500

// attempt hears of every attempt; success without an error is the end of the login.
func (c *connection) attempt(meta ssh.ConnMetadata, method string, err error) {
	if err == nil {
		c.welcome()
		return
	}
	c.server.Log.Debug("authentication attempt", "from", c.from, "method", session.OneLine(method, 40), "error", session.OneLine(err.Error(), logged))
}

// The order of proofs. Somebody with a certificate must never be asked, and
// somebody without one proves their key before they sign in, as the login is
// bound to it. But OpenSSH offers a key before the certificate beside it, and
// once it has gone on to keyboard-interactive it offers keys no more. So a plain
// key is taken at once, as partial success; then OpenSSH offers everything
// again, and now only a certificate will do; and when there is none, it goes on to
// the login. (With CertificateFile the certificate comes first, and a key
// that wants a touch wants one only.)

// offered says whether a key is worth a signature. A client may offer any
// number of keys that are not theirs, so nothing but that is concluded here.
func (c *connection) offered(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if _, ok := key.(*ssh.Certificate); ok {
		return c.offeredCertificate(meta, key)
	}
	return nil, c.patience(false)
}

// offeredCertificate is the same when a plain key was proven already.
func (c *connection) offeredCertificate(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("a key was proven already")
	}
	if _, err := c.server.Authority.Identify(cert, c.from); err != nil {
		return nil, c.refuseCertificate(err)
	}
	return nil, c.patience(true)
}

// proven is called when the client has signed with the key. A certificate is
// judged again, as nothing from before the signature counts; a plain key says
// nothing about a person, so the login follows, bound to that very key.
func (c *connection) proven(_ ssh.ConnMetadata, key ssh.PublicKey, _ *ssh.Permissions, _ string) (*ssh.Permissions, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{
			PublicKeyCallback: c.offeredCertificate, KeyboardInteractiveCallback: c.login(key),
		}}
	}
	who, err := c.server.Authority.Identify(cert, c.from)
	if err != nil {
		return nil, c.refuseCertificate(err)
	}
	if err := c.countIn(who); err != nil {
		c.refusePerson(err)
		return nil, banner(err, err.Error())
	}
	who.Credential.From = c.from
	permit := visitor{who: who}.permit()
	permit.CriticalOptions = cert.CriticalOptions // x/crypto enforces source-address once more
	return permit, nil
}

// refuseCertificate keeps the sentence for the login prompt, which OpenSSH
// shows always, and sends it as a banner too, which is all that a client
// without a terminal (BatchMode) sees, though not under LogLevel=ERROR.
func (c *connection) refuseCertificate(err error) error {
	text := "your certificate was not accepted: " + session.OneLine(err.Error(), 300)
	if r := (certs.Rejection{}); errors.As(err, &r) && r.Renew {
		text += ": " + c.server.command("login")
	}
	c.mu.Lock()
	said := c.entry.refused == text
	c.entry.refused = text
	c.mu.Unlock()
	c.server.Log.Info("certificate refused", "from", c.from, "error", err)
	if said {
		return err
	}
	c.server.turnedAway(c.from, refusedCertificate, err)
	return banner(err, text)
}

// banner is an error that the client is told, too.
func banner(err error, text string) error {
	return &ssh.BannerError{Err: err, Message: "twokey: " + session.OneLine(text, 500) + "\r\n"}
}

// turned is why somebody is not let in who has proven what they should. They read it in a
// last prompt: that is what OpenSSH shows always.
type turned struct {
	error
	cause string // for the Meter; empty when it has heard of it
}

// countIn lets a person in who is not here too often already. What they came with
// is no less good for it, so nothing follows but that.
func (c *connection) countIn(who session.Identity) error {
	if n := c.server.Limits.PerPerson; !c.server.roll.belongs(c, accountOf(who)) {
		return turned{fmt.Errorf("you have %d connections here, and that is all that one person can have; close some first", n), refusedPerson}
	}
	return nil
}

// refusePerson refuses them a login, too, which would be as much in vain. It is noted
// here, once: a script leaves after the certificate.
func (c *connection) refusePerson(err error) {
	if c.endLogin(turned{err, ""}) == nil {
		c.server.Log.Info("connection refused", "from", c.from, "error", err)
		c.server.turnedAway(c.from, refusedPerson, err)
	}
}

// login asks for the code of a browser login. key is the one this connection
// has proven, or nil.
func (c *connection) login(key ssh.PublicKey) func(ssh.ConnMetadata, ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	return func(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
		who, err := c.signIn(key, ask)
		if err == nil {
			err = c.keptOut(who)
		}
		if err == nil {
			err = c.countIn(who)
		}
		if err != nil {
			return nil, c.leaves(err, ask)
		}
		now := time.Now()
		who.Credential = session.Credential{Key: fingerprint(key), From: c.from, Issued: now, Expires: now.Add(c.server.LoginLasts)}
		return visitor{who: who, key: key, signedIn: now}.permit(), nil
	}
}

// How often a code may be wrong, and how often it is asked for: somebody may
// press Enter before there is one.
const (
	maxCodes = 3
	maxAsked = 30
)

// ErrNoCodeYet is Redeem's while nobody has signed in: whatever was typed is no try.
var ErrNoCodeYet = errors.New("open the link first; the code is on the page you see after signing in")

// signIn shows the link and asks for the code, up to three times. Everything
// the person must read is in the prompt: OpenSSH drops the instruction
// under LogLevel=ERROR.
func (c *connection) signIn(key ssh.PublicKey, ask ssh.KeyboardInteractiveChallenge) (session.Identity, error) {
	if err := c.endLogin(errors.New("this login is over; connect again for a new link")); err != nil {
		return session.Identity{}, err
	}
	if c.server.Logins == nil {
		return session.Identity{}, errors.New("this bastion takes certificates only")
	}
	if err := c.patience(false); err != nil {
		return session.Identity{}, turned{err, refusedCrowd}
	}
	id, url, err := c.server.Logins.Begin(c.from, fingerprint(key))
	if err != nil {
		return session.Identity{}, turned{err, refusedLogin}
	}
	defer c.server.Logins.Cancel(id)
	prompt := fmt.Sprintf("%sSign in at %s\n  then type the code it shows here.\nCode: ", c.sorry(), url)
	for wrong, asked := 0, 0; wrong < maxCodes && asked < maxAsked; asked++ {
		answers, err := ask("", "", []string{prompt}, []bool{true})
		if err != nil {
			return session.Identity{}, err
		}
		who, err := c.server.Logins.Redeem(c.ctx, id, tidyCode(answers[0]))
		if err == nil {
			return who, nil
		}
		if !errors.Is(err, ErrNoCodeYet) {
			wrong++
		}
		prompt = "twokey: " + session.OneLine(err.Error(), 300) + "\nCode: "
	}
	return session.Identity{}, errors.New("three wrong codes; connect again for a new link")
}

// keptOut is why somebody who has just signed in is not let in.
func (c *connection) keptOut(who session.Identity) error {
	why := c.server.Revocations.Why(who, time.Now())
	if why == "" {
		return nil
	}
	c.server.Log.Warn("a revoked person signed in", "from", c.from, "person", who.Name)
	return turned{errors.New(why), refusedLogin}
}

// leaves tells somebody why their login failed.
func (c *connection) leaves(err error, ask ssh.KeyboardInteractiveChallenge) error {
	cause, text := refusedLogin, session.OneLine(err.Error(), 300)
	if t := (turned{}); errors.As(err, &t) {
		cause = t.cause
		ask("", "", []string{"twokey: " + text + "\nPress Enter to leave. "}, []bool{true})
	}
	if cause != "" {
		c.server.Log.Info("login failed", "from", c.from, "error", err)
		c.server.turnedAway(c.from, cause, err)
	}
	return banner(err, text)
}

// endLogin allows this connection no other login, and returns why it had none before:
// nil the first time. A client that failed starts again with a new connection.
func (c *connection) endLogin(why error) (before error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.entry.over = c.entry.over, why
	return before
}

// sorry is why a certificate was refused, as the beginning of a prompt.
func (c *connection) sorry() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entry.refused == "" {
		return ""
	}
	return "twokey: " + c.entry.refused + "\n"
}

// tidyCode forgives how people type six digits.
func tidyCode(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.NewReplacer(" ", "", "-", "", "\t", "", "\r", "", "\n", "").Replace(s)
}

// fingerprint is SHA256:…, or empty without a key.
func fingerprint(key ssh.PublicKey) string {
	if key == nil {
		return ""
	}
	return ssh.FingerprintSHA256(key)
}
