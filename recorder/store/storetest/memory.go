package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder/store"
)

// Memory is a store in memory. Its objects can be tampered with, which no real
// store offers; at the end of the test that made it, it fails the test if an
// object was changed or removed by anything but Tamper.
type Memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	first   map[string][]byte // as they were put, to see that they stay so
	puts    []string          // names in the order in which they were stored
}

// NewMemory returns an empty store.
func NewMemory(t testing.TB) *Memory {
	m := &Memory{objects: map[string][]byte{}, first: map[string][]byte{}}
	t.Cleanup(func() {
		m.mu.Lock() // a recorder that the test left to itself may still be writing
		defer m.mu.Unlock()
		for name, was := range m.first {
			if !bytes.Equal(m.objects[name], was) {
				t.Errorf("the object %s was changed after it was stored", name)
			}
		}
	})
	return m
}

// Put is Store's.
func (m *Memory) Put(ctx context.Context, name string, data []byte) (string, error) {
	if err := errors.Join(store.CheckName(name), ctx.Err()); err != nil {
		return "", err
	}
	if len(data) > store.MaxObject {
		return "", store.ErrTooLarge
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.objects[name]; taken {
		return "", store.ErrExists
	}
	m.objects[name] = append([]byte{}, data...)
	m.first[name] = append([]byte{}, data...)
	m.puts = append(m.puts, name)
	return "v1", nil
}

// Get is Store's.
func (m *Memory) Get(ctx context.Context, name, version string, limit int64) ([]byte, string, error) {
	if err := errors.Join(store.CheckName(name), ctx.Err()); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, there := m.objects[name]
	switch {
	case !there, version != "" && version != "v1":
		return nil, "", fmt.Errorf("%s: %w", name, store.ErrNotExist)
	case int64(len(data)) > limit:
		return nil, "", fmt.Errorf("%s: %w", name, store.ErrTooLarge)
	}
	return slices.Clone(data), "v1", nil
}

// Remove is store.Remover's.
func (m *Memory) Remove(ctx context.Context, name string) error {
	if err := errors.Join(store.CheckName(name), ctx.Err()); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	delete(m.first, name)
	m.puts = slices.DeleteFunc(m.puts, func(n string) bool { return n == name })
	return nil
}

// Kept is store.Remover's.
func (m *Memory) Kept(context.Context, string) (time.Time, error) { return time.Time{}, nil }

// List is Store's.
func (m *Memory) List(ctx context.Context, folder string) ([]store.Object, error) {
	if folder != "" && (!strings.HasSuffix(folder, "/") || store.CheckName(strings.TrimSuffix(folder, "/")) != nil) {
		return nil, fmt.Errorf("%w: %q", store.ErrBadName, folder)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[string]int64{}
	for name, data := range m.objects {
		rest, inside := strings.CutPrefix(name, folder)
		if !inside {
			continue
		}
		if strings.HasPrefix(rest, ".") {
			continue
		}
		if sub, _, deeper := strings.Cut(rest, "/"); deeper {
			seen[folder+sub+"/"] = 0
		} else {
			seen[name] = int64(len(data))
		}
	}
	var list []store.Object
	for name, size := range seen {
		list = append(list, store.Object{Name: name, Size: size})
	}
	slices.SortFunc(list, func(a, b store.Object) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Names returns all names in the order in which they were stored.
func (m *Memory) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.puts)
}

// Object returns a copy of an object, nil when there is none.
func (m *Memory) Object(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.objects[name])
}

// Clone returns a copy to tamper with, which asserts nothing.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Memory{objects: map[string][]byte{}, first: map[string][]byte{}, puts: slices.Clone(m.puts)}
	for name, data := range m.objects {
		c.objects[name] = slices.Clone(data)
	}
	return c
}

// Tamper does what a thief with access to the bucket would: it replaces the
// object, or removes it when data is nil. Use it on a Clone.
func (m *Memory) Tamper(name string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if delete(m.objects, name); data != nil {
		m.objects[name] = slices.Clone(data)
	}
}
