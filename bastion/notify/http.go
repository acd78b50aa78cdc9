package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file holds the two destinations there are.

const (
	tryTime     = 10 * time.Second // for one try
	maxResponse = 64 << 10         // bytes that are read of an answer, to use the connection again
)

// client follows no redirects: a signed body goes where the configuration says.
var client = &http.Client{
	Timeout:       tryTime,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Webhook gets each notice as JSON, signed.
type Webhook struct {
	url    string
	name   string
	secret []byte
}

// NewWebhook takes the URL and the secret that signs. A secret that begins with
// whsec_ is base64, any other is taken as it is (Standard Webhooks, "Signature scheme").
func NewWebhook(address, secret string) (*Webhook, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, errors.New("the webhook's url is none")
	}
	key := []byte(secret)
	if text, is := strings.CutPrefix(secret, "whsec_"); is {
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, errors.New("the webhook's secret begins with whsec_ and is not base64 behind it")
		}
	}
	if len(key) == 0 {
		return nil, errors.New("the webhook's secret is empty")
	}
	return &Webhook{address, "webhook " + u.Host, key}, nil
}

// Name is the host alone: a path may be a secret.
func (w *Webhook) Name() string { return w.name }

// Deliver posts a notice.
func (w *Webhook) Deliver(ctx context.Context, n Notice) (retry bool, after time.Duration, err error) {
	body, err := json.Marshal(n)
	if err != nil {
		return false, 0, err
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	m := hmac.New(sha256.New, w.secret)
	fmt.Fprintf(m, "%s.%s.%s", n.id, stamp, body)
	return post(ctx, w.url, body, map[string]string{
		"webhook-id": n.id, "webhook-timestamp": stamp,
		"webhook-signature": "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil)),
	})
}

// Slack gets each notice as a message.
type Slack struct{ url string }

// NewSlack takes the URL of an incoming webhook, which is a secret.
func NewSlack(address string) (*Slack, error) {
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "https" && u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost" {
		return nil, errors.New("the url of Slack does not begin with https://")
	}
	return &Slack{address}, nil
}

// Name is Slack.
func (*Slack) Name() string { return "Slack" }

// Deliver posts a notice.
func (s *Slack) Deliver(ctx context.Context, n Notice) (retry bool, after time.Duration, err error) {
	body, err := json.Marshal(map[string]string{"text": n.Text()})
	if err != nil {
		return false, 0, err
	}
	return post(ctx, s.url, body, nil)
}

// Reach connects to the webhook's host and sends nothing.
func (w *Webhook) Reach(ctx context.Context) error { return reach(ctx, w.url) }

// Reach connects to Slack and sends nothing.
func (s *Slack) Reach(ctx context.Context) error { return reach(ctx, s.url) }

func reach(ctx context.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("the url cannot be read")
	}
	var d interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{}
	port := "80"
	if u.Scheme == "https" {
		d, port = &tls.Dialer{}, "443"
	}
	if u.Port() != "" {
		port = u.Port()
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// post makes one try. What the answer says is not shown to anyone: it comes
// from outside. Nor is the URL.
func post(ctx context.Context, address string, body []byte, header map[string]string) (retry bool, after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return false, 0, errors.New("the url cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		req.Header[name] = []string{value} // in the spelling of the specification
	}
	resp, err := client.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // without the URL
		}
		return true, 0, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxResponse))
	switch {
	case resp.StatusCode < 300:
		return false, 0, nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return true, time.Duration(max(min(seconds, 3600), 0)) * time.Second, fmt.Errorf("it answered %d", resp.StatusCode)
	}
	return false, 0, fmt.Errorf("it answered %d", resp.StatusCode)
}

// Text is a notice for people, in Slack's mrkdwn. What people wrote is bounded,
// and means nothing to Slack.
func (n Notice) Text() string {
	clean := func(s string) string {
		return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "*", "∗", "`", "'").Replace(session.OneLine(s, 500))
	}
	where := "*" + clean(n.Target+"+"+n.Mode) + "*"
	who := "*" + clean(n.Engineer) + "*"
	var text string
	switch n.Event {
	case Waiting:
		text = fmt.Sprintf("%s waits for a shadow on %s; it takes %s", who, where, clean(n.Takes))
	case Opened:
		text = fmt.Sprintf("%s is on %s, watched by %s", who, where, clean(strings.Join(n.Shadows, " and ")))
	case BreakGlass:
		text = fmt.Sprintf(":rotating_light: %s BROKE THE GLASS and is alone on %s", who, where)
	case Killed:
		text = fmt.Sprintf(":octagonal_sign: the session of %s on %s was killed", who, where)
		if n.Cause != nil {
			text += " by " + clean(n.Cause.By) + ": " + clean(n.Cause.Text)
		}
	case Alarm:
		text = fmt.Sprintf(":rotating_light: ALARM in the session of %s on %s: see the log of the bastion", who, where)
	default:
		text = fmt.Sprintf("the session of %s on %s has ended", who, where)
		if n.Cause != nil {
			text += ": " + clean(n.Cause.Sentence())
		}
	}
	if n.Reason != "" {
		text += " (" + clean(n.Reason) + ")"
	}
	if n.Join != "" {
		text += "\nSit down: `" + clean(n.Join) + "`"
	}
	return text
}
