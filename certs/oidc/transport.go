package oidc

import (
	"errors"
	"net/http"
	"time"
)

// This file bounds what the provider, or somebody in its place, can make us
// read and where it can send us.

const (
	maxBody    = 1 << 20  // bytes of one answer, after decompression
	maxHeaders = 64 << 10 // bytes
)

func newClient() *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: bounded{&http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 4, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout, MaxResponseHeaderBytes: maxHeaders,
		}},
		// Our secret and the code go to the address that the provider told
		// us, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the identity provider answers with a redirect")
		},
	}
}

// bounded is a transport whose answers end after maxBody.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxBody)
	}
	return resp, err
}
