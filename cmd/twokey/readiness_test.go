package main

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A part that hangs, whatever its context says, is named, is asked once and no more,
// and keeps no answer about the others back; when it answers again, that is said.
func TestReadyWhileAPartHangs(t *testing.T) {
	var asked atomic.Int32
	goOn := make(chan struct{})
	hangs := probe{"spool", func(context.Context) (string, error) {
		asked.Add(1)
		<-goOn
		return "written", nil
	}}
	works := probe{"store", func(context.Context) (string, error) { return "fine", nil }}
	r := &readiness{must: map[string]bool{"spool": true}, parts: []*trial{{probe: hangs}, {probe: works}}}
	for range 2 {
		w, began := httptest.NewRecorder(), time.Now()
		r.ServeHTTP(w, nil)
		if w.Code != 503 || !strings.Contains(w.Body.String(), `"part":"spool","state":"FAIL","detail":"it does not answer; asked `) || !strings.Contains(w.Body.String(), `"part":"store","state":"ok"`) {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
		if took := time.Since(began); took < readyPatience {
			t.Errorf("it waited %v", took)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	close(goOn)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, nil)
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"part":"spool","state":"ok"`) {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
