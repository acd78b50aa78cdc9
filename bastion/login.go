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
	"net/netip"
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

// Bounds of a login, which is good for one use. There are
// no timers: what is over is forgotten when somebody looks.
const (
	loginLife     = 5 * time.Minute
	maxLogins     = 10_000 // under way at once
	maxPerAddress = 50     // of them from one address
	loginTries    = 3      // at the code
	loginStarts   = 10     // at the identity provider, all by one browser
)

// IdentityProvider signs people in; certs/oidc is one. If an error has a
// method Sentence() string, the person reads that, and else only that it did
// not work.
type IdentityProvider interface {
	// AuthURL is where the browser goes.
	AuthURL(ctx context.Context, state, nonce, verifier string) (string, error)
	// Exchange turns the code that the browser brought back into an identity.
	// issuer is the iss parameter of the answer (RFC 9207), or empty.
	Exchange(ctx context.Context, code, verifier, nonce, issuer string) (session.Identity, error)
}

// Logins is the LoginDesk: the logins that are under way, and their pages. It
// is safe for concurrent use.
type Logins struct {
	base     string // how browsers reach the pages, without a slash at the end
	provider IdentityProvider
	log      *slog.Logger
	served   map[string]string // plain texts by path, such as /known_hosts

	mu    sync.Mutex
	open  map[string]*login
	from  map[netip.Prefix]int // how many of them by source
	swept time.Time
}

// login is one that is under way.
type login struct {
	id      string
	from    string // host:port of the SSH client
	source  netip.Prefix
	key     string // fingerprint, or empty
	expires time.Time
	tries   int

	// Set when a browser has begun.
	starts   int
	browser  [32]byte // hash of its cookie
	state    string   // empty while no answer of the provider is awaited
	nonce    string
	verifier string // PKCE's (RFC 7636)
	port     int    // on which twokey login waits beside that browser; 0: nobody does

	// Set when the identity provider has said who it is.
	who  session.Identity
	code string
}

// NewLogins returns the desk. served are texts that the pages give out, by path.
func NewLogins(base string, provider IdentityProvider, served map[string]string, log *slog.Logger) *Logins {
	return &Logins{base: strings.TrimSuffix(base, "/"), provider: provider, served: served, log: log, open: map[string]*login{}, from: map[netip.Prefix]int{}}
}

// Begin is LoginDesk's.
func (l *Logins) Begin(from, fingerprint string) (id, url string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	source := sourceOf(from)
	if l.full(source) {
		l.sweep()
	}
	if l.full(source) {
		return "", "", errors.New("too many logins are under way; try again in a few minutes")
	}
	x := &login{id: newLoginID(), from: from, source: source, key: fingerprint, expires: time.Now().Add(loginLife)}
	if l.open[x.id] != nil {
		return "", "", errors.New("that went wrong; connect again") // once in a hundred million logins
	}
	l.open[x.id] = x
	l.from[source]++
	return x.id, l.link(x.id), nil
}

func (l *Logins) full(source netip.Prefix) bool {
	return len(l.open) >= maxLogins || l.from[source] >= maxPerAddress
}

// sweep forgets what is over, at most once a second: somebody who is refused
// may be asking all the time. The caller holds mu.
func (l *Logins) sweep() {
	now := time.Now()
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for _, x := range l.open {
		if !now.Before(x.expires) {
			l.forget(x)
		}
	}
}

// forget takes a login off the desk. The caller holds mu.
func (l *Logins) forget(x *login) {
	delete(l.open, x.id)
	if l.from[x.source]--; l.from[x.source] <= 0 {
		delete(l.from, x.source)
	}
}

func (l *Logins) link(id string) string { return l.base + "/login/" + id }

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// Cancel ends a login that nobody waits for any more, as when the connection
// went away. Its link and its code are then good for nothing.
func (l *Logins) Cancel(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.open[id]; x != nil {
		l.forget(x)
	}
}

// Redeem is LoginDesk's: the code is right once, and wrong three times at most.
func (l *Logins) Redeem(_ context.Context, id, code string) (session.Identity, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.alive(id)
	if x == nil {
		return session.Identity{}, errors.New("this login is over; connect again for a new link")
	}
	if x.code == "" {
		return session.Identity{}, ErrNoCodeYet
	}
	x.tries++
	right := subtle.ConstantTimeCompare([]byte(code), []byte(x.code)) == 1
	if right || x.tries >= loginTries {
		l.forget(x)
	}
	if right {
		return x.who, nil
	}
	return session.Identity{}, errors.New("that is not the code")
}

// alive returns a login that has not ended. The caller holds mu.
func (l *Logins) alive(id string) *login {
	x := l.open[id]
	if x != nil && !time.Now().Before(x.expires) {
		l.forget(x)
		return nil
	}
	return x
}

// start binds a login to the browser that opened its link: the first one, as
// the second would be somebody the link was sent to. had is the cookie that the
// browser came with; cookie is what it shall keep, never chosen by another. port is
// where a program on that machine waits for the code, if one does.
func (l *Logins) start(id, had string, port int) (_ login, cookie string, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.alive(id)
	switch {
	case x == nil:
		return login{}, "", errGone
	case x.starts == 0:
		had = secret()
		x.browser, x.port = sha256.Sum256([]byte(had)), port
	case !x.isBrowser(had):
		return login{}, "", errTaken
	case x.code != "":
		return login{}, "", errShown
	case x.starts >= loginStarts:
		return login{}, "", errGone
	}
	x.starts++
	x.state, x.nonce, x.verifier = x.id+"."+secret(), nonceFor(x.key), secret()
	return *x, had, nil
}

func (x *login) isBrowser(cookie string) bool {
	hash := sha256.Sum256([]byte(cookie))
	return x.starts > 0 && subtle.ConstantTimeCompare(hash[:], x.browser[:]) == 1
}

// come finds the login that a browser comes back to, and lets it come once.
func (l *Logins) come(state, cookie string) (login, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.alive(loginOf(state))
	switch {
	case x == nil:
		return login{}, errGone
	case !x.isBrowser(cookie):
		return login{}, errForeign
	case x.code != "":
		return login{}, errShown
	case x.state == "" || subtle.ConstantTimeCompare([]byte(state), []byte(x.state)) != 1:
		return login{}, errStale
	}
	came := *x
	x.state = ""
	return came, nil
}

// loginOf is the login that a state belongs to.
func loginOf(state string) string {
	id, _, _ := strings.Cut(state, ".")
	return id
}

// settle keeps who signed in and draws the code.
func (l *Logins) settle(id string, who session.Identity) (code string, _ error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.alive(id)
	switch {
	case x == nil:
		return "", errGone
	case x.code != "":
		return "", errShown
	case !who.Valid():
		return "", errors.New("the identity provider named nobody")
	}
	x.who, x.code = who, fmt.Sprintf("%06d", n)
	return x.code, nil
}

// crockford has no letters that look like digits.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// newLoginID is 40 random bits in Crockford's base 32, XXXX-XXXX.
func newLoginID() string {
	var b [8]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = crockford[b[i]&31]
	}
	return string(b[:4]) + "-" + string(b[4:])
}

// typedLoginID forgives how people type one.
func typedLoginID(s string) string {
	s = strings.NewReplacer("-", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(s))
	if len(s) != 8 {
		return ""
	}
	return s[:4] + "-" + s[4:]
}

// secret is 256 random bits as text.
func secret() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// nonceFor is a nonce that is bound to a key: the ID token that carries it was made
// for a login with this key, and for none with another.
func nonceFor(fingerprint string) string {
	hash := sha256.Sum256([]byte(secret() + " " + fingerprint))
	return base64.RawURLEncoding.EncodeToString(hash[:])
}
