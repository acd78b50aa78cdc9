package bastion

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file holds the logins that are under way: between the link in
// somebody's terminal, the browser at the identity provider, and the code that
// is typed back. Typing it back is what makes a sent link useless: whoever
// opens a stranger's link sees a code that only the stranger could type, and
// the page says for which key and address it would be.

// Bounds of a login (HARDENING: five minutes, one use, three tries).
const (
	loginLife     = 5 * time.Minute
	maxLogins     = 10_000 // under way at once
	maxPerAddress = 50     // of them from one address
	loginTries    = 3
)

// IdentityProvider signs people in; certs/oidc is one.
type IdentityProvider interface {
	// AuthURL is where the browser goes.
	AuthURL(ctx context.Context, state, nonce, verifier string) (string, error)
	// Exchange turns the code that the browser brought back into an identity.
	// The error is a sentence for the person.
	Exchange(ctx context.Context, code, verifier, nonce, issuer string) (session.Identity, error)
}

// Logins is the LoginDesk: the logins that are under way, and their pages.
type Logins struct {
	base     string // how browsers reach the pages, without a slash at the end
	provider IdentityProvider
	log      *slog.Logger
	served   map[string]string // plain texts by path, such as /known_hosts

	mu   sync.Mutex
	open map[string]*login
}

// login is one that is under way.
type login struct {
	id      string
	from    string // host:port of the SSH client
	key     string // fingerprint, or empty
	expires time.Time
	tries   int

	// Set when a browser has begun.
	browser  [32]byte // hash of its cookie
	state    string
	nonce    string
	verifier string

	// Set when the identity provider has said who it is.
	who  session.Identity
	code string
}

// NewLogins returns the desk. served are texts that the pages give out, by path.
func NewLogins(base string, provider IdentityProvider, served map[string]string, log *slog.Logger) *Logins {
	return &Logins{base: strings.TrimSuffix(base, "/"), provider: provider, served: served, log: log, open: map[string]*login{}}
}

// Begin is LoginDesk's.
func (l *Logins) Begin(from, fingerprint string) (id, url string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := 0
	for id, x := range l.open {
		switch {
		case time.Now().After(x.expires):
			delete(l.open, id)
		case hostOf(x.from) == hostOf(from):
			same++
		}
	}
	if len(l.open) >= maxLogins || same >= maxPerAddress {
		return "", "", errors.New("too many logins are under way; try again in a few minutes")
	}
	x := &login{id: newLoginID(), from: from, key: fingerprint, expires: time.Now().Add(loginLife)}
	l.open[x.id] = x
	return x.id, l.base + "/login/" + x.id, nil
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// Redeem is LoginDesk's: the code is right once, and wrong three times at most.
func (l *Logins) Redeem(_ context.Context, id, code string) (session.Identity, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.alive(id)
	if x == nil {
		return session.Identity{}, errors.New("this login is over; connect again for a new link")
	}
	if x.tries++; x.tries >= loginTries {
		defer delete(l.open, id)
	}
	switch {
	case x.code == "":
		return session.Identity{}, errors.New("open the link first; the code is on the page you see after signing in")
	case subtle.ConstantTimeCompare([]byte(code), []byte(x.code)) != 1:
		return session.Identity{}, errors.New("that is not the code")
	}
	delete(l.open, id)
	return x.who, nil
}

// alive returns a login that has not ended. The caller holds mu.
func (l *Logins) alive(id string) *login {
	x := l.open[id]
	if x != nil && time.Now().After(x.expires) {
		delete(l.open, id)
		return nil
	}
	return x
}

// start binds a login to the browser that opened its link: the first one, as
// the second would be somebody the link was sent to.
func (l *Logins) start(id, cookie string) (login, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.alive(id)
	switch {
	case x == nil:
		return login{}, errGone
	case x.code != "" || x.state != "" && x.browser != sha256.Sum256([]byte(cookie)):
		return login{}, errUsed
	}
	x.browser = sha256.Sum256([]byte(cookie))
	x.state, x.nonce, x.verifier = x.id+"."+secret(), secret(), secret()+secret()
	return *x, nil
}

// come finds the login that a browser comes back to, and lets it come once.
func (l *Logins) come(state, cookie string) (login, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, _, _ := strings.Cut(state, ".")
	x := l.alive(id)
	if x == nil {
		return login{}, errGone
	}
	hash := sha256.Sum256([]byte(cookie))
	if cookie == "" || subtle.ConstantTimeCompare(hash[:], x.browser[:]) != 1 ||
		x.state == "" || subtle.ConstantTimeCompare([]byte(state), []byte(x.state)) != 1 {
		return login{}, errForeign
	}
	came := *x
	x.state = "used"
	return came, nil
}

// settle keeps who signed in and draws the code.
func (l *Logins) settle(id string, who session.Identity) (login, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.alive(id)
	if x == nil || x.code != "" {
		return login{}, errGone
	}
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return login{}, err
	}
	x.who, x.code = who, fmt.Sprintf("%06d", n)
	return *x, nil
}

// newLoginID is 40 random bits in Crockford's base 32, XXXX-XXXX.
func newLoginID() string {
	const letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var b [8]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = letters[b[i]&31]
	}
	return string(b[:4]) + "-" + string(b[4:])
}

// secret is 256 random bits as text.
func secret() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
