package psql

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
)

// This file hands out the user ids that psqls run as when twokey is root. A
// user of its own for each means that no psql can signal, trace or starve
// another, or open another's socket, whatever else fails.

// uids is how many there are, and firstUIDs where they may begin: above what
// distributions hand out (subordinate ids end below 2^30), or, in a container
// that has only 65536 ids, above people and below dynamic users of systemd.
const uids = 1 << 14

var firstUIDs = []int{1<<30 + 1<<20, 42_000}

type users struct {
	first int

	mu   sync.Mutex
	used map[int]bool // by live psqls
	next int
}

// newUsers finds a range that this user namespace knows (user_namespaces(7)).
// It begins somewhere in it, so that two bastions on a machine seldom meet;
// when they do, Landlock and the gateway's check of the process still hold.
func newUsers(maps ...string) (*users, error) {
	for _, first := range firstUIDs {
		known := true
		for _, path := range maps {
			covers, err := covers(path, first, uids)
			if err != nil {
				return nil, err
			}
			known = known && covers
		}
		if known {
			return &users{first: first, used: map[int]bool{}, next: rand.IntN(uids)}, nil
		}
	}
	return nil, fmt.Errorf("no user ids for psql: neither %d nor %d and the %d after it exist in this container; give it more ids, or do not run twokey as root", firstUIDs[0], firstUIDs[1], uids)
}

// covers reports whether one line of a uid_map holds all n ids from first on.
func covers(path string, first, n int) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("user ids for psql: %w", err)
	}
	defer f.Close()
	for {
		var inside, outside, length int
		if _, err := fmt.Fscan(f, &inside, &outside, &length); err != nil {
			return false, nil
		}
		if inside <= first && first+n <= inside+length {
			return true, nil
		}
	}
}

func (u *users) reserve() (uid int, release func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for range uids {
		uid = u.first + u.next
		u.next = (u.next + 1) % uids
		if !u.used[uid] {
			u.used[uid] = true
			return uid, func() { u.release(uid) }, nil
		}
	}
	return 0, nil, fmt.Errorf("all %d user ids for psql are in use", uids)
}

func (u *users) release(uid int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.used, uid)
}

func (u *users) have(uid int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.used[uid]
}
