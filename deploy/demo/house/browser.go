package house

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
)

// This file is a person's browser: it opens the link that twokey printed,
// follows, fills in the form of the identity provider, and reads the code.

var (
	shownCode = regexp.MustCompile(`id="code"[^>]*>\s*([0-9]{3}\s?[0-9]{3})\s*<`)
	formTag   = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"`)
	inputTag  = regexp.MustCompile(`<(?:input|button)[^>]*>`)
	nameAttr  = regexp.MustCompile(`\bname="([^"]*)"`)
	valueAttr = regexp.MustCompile(`\bvalue="([^"]*)"`)
)

// SignIn returns the six digits that the last page shows. The user name is the
// password, as the demo's login page says.
func SignIn(link, userName string) (code string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Jar: jar, Timeout: Patience}
	page, at, err := read(browser.Get(link))
	for range 4 { // the provider's form, and one of twokey's own
		if err != nil {
			return "", err
		}
		if m := shownCode.FindStringSubmatch(page); m != nil {
			return m[1], nil
		}
		action, fields := form(page)
		if fields == nil {
			break
		}
		for _, field := range []string{"username", "password"} {
			if fields.Has(field) {
				fields.Set(field, userName)
			}
		}
		target, err2 := at.Parse(action)
		if err2 != nil {
			return "", err2
		}
		page, at, err = read(browser.PostForm(target.String(), fields))
	}
	return "", fmt.Errorf("the browser finds neither a code nor a form at %s: %s", at, page)
}

// form is the page's first form, with what is filled in; nil when there is none.
func form(page string) (action string, fields url.Values) {
	m := formTag.FindStringSubmatch(page)
	if m == nil {
		return "", nil
	}
	fields = url.Values{}
	for _, tag := range inputTag.FindAllString(page, -1) {
		name, value := nameAttr.FindStringSubmatch(tag), valueAttr.FindStringSubmatch(tag)
		switch {
		case name != nil && value != nil:
			fields.Set(name[1], html.UnescapeString(value[1]))
		case name != nil:
			fields.Set(name[1], "")
		}
	}
	return html.UnescapeString(m[1]), fields
}

func read(resp *http.Response, err error) (page string, at *url.URL, _ error) {
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(body), resp.Request.URL, err
}
