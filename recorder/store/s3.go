package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// This file is the store for production: a bucket of anything that speaks S3,
// and the only place that knows minio-go.

// S3Config says where a bucket is and how to get in.
type S3Config struct {
	Endpoint  string // URL, http or https, without a path
	Region    string // us-east-1 when empty
	Bucket    string
	Prefix    string // put before every name, without slashes at its ends; may be empty
	AccessKey string
	SecretKey string

	// Lock keeps every object from being changed or removed for so many days
	// (S3 Object Lock), "governance" or "compliance"; no lock when Days is 0. The
	// bucket must have been made with Object Lock.
	LockMode string
	LockDays int

	// OpTimeout bounds each operation, on top of the caller's context; 30 s when zero.
	OpTimeout time.Duration
}

// S3 is a Store in a bucket. Buckets are addressed by path (ENDPOINT/BUCKET).
type S3 struct {
	client  *minio.Client
	bucket  string
	prefix  string
	timeout time.Duration
	mode    minio.RetentionMode
	keep    time.Duration // under Object Lock; 0 is none
	listing room          // of one listing

	mu   sync.Mutex
	late map[string]int // how often the Put of a name took too long, in a row
}

// mostLate bounds how patient a Put becomes: 32 times the usual. At 1 KB/s that
// is enough for a megabyte.
const mostLate = 5

// NewS3 returns the store. It does not reach out: Try does.
func NewS3(c S3Config) (*S3, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("the S3 endpoint %q is not an http or https URL", c.Endpoint)
	}
	if c.Bucket == "" {
		return nil, errors.New("no bucket")
	}
	if c.Prefix != "" {
		if err := CheckName(c.Prefix); err != nil {
			return nil, err
		}
		c.Prefix += "/"
	}
	if c.Region == "" {
		c.Region = "us-east-1" // with a region given, the client asks nobody for one
	}
	if c.OpTimeout == 0 {
		c.OpTimeout = 30 * time.Second
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""),
		Secure:       u.Scheme == "https",
		Region:       c.Region,
		BucketLookup: minio.BucketLookupPath,
		Transport:    bounded{transport()},
		MaxRetries:   1, // who calls retries, and knows that a Put may have worked
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return &S3{
		late: map[string]int{}, client: client, bucket: c.Bucket, prefix: c.Prefix, timeout: c.OpTimeout,
		mode: minio.RetentionMode(strings.ToUpper(c.LockMode)), keep: time.Duration(c.LockDays) * 24 * time.Hour,
		listing: room{entries: maxListing, bytes: maxNames},
	}, nil
}

// room returns what one listing may hold, of which nothing is taken yet.
func (s *S3) room(folder string) *room {
	r := s.listing
	r.folder = folder
	return &r
}

// bounded bounds answers: the client reads those that are not objects into memory as far as
// they go. A page of a listing has at most 1000 entries.
type bounded struct{ http.RoundTripper }

const maxAnswer = 16 << 20 // bytes

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err == nil && (r.Method != http.MethodGet || !isObject(r.URL)) {
		answer.Body = &boundedBody{answer.Body, maxAnswer}
	}
	return answer, err
}

// isObject reports whether a GET asks for an object. Whoever reads one knows how much
// they take.
func isObject(u *url.URL) bool {
	asks := u.Query()
	asks.Del("versionId")
	return len(asks) == 0
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the store's answer is longer than %d MiB: %w", maxAnswer>>20, ErrTooMany)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func transport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		IdleConnTimeout:     60 * time.Second,
		MaxIdleConnsPerHost: 256, // as many tapes may send at once, and a new connection costs more than what they send
		// Objects are compressed already, and a length must mean what it says.
		DisableCompression: true,
	}
}

// Put is Store's. The object goes out in one request with If-None-Match: *.
func (s *S3) Put(ctx context.Context, name string, data []byte) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	if len(data) > MaxObject {
		return "", ErrTooLarge
	}
	ctx, done := s.patiently(ctx, name)
	defer done()
	opts := minio.PutObjectOptions{ContentType: contentType(name), DisableMultipart: true}
	opts.SetMatchETagExcept("*")
	if s.keep > 0 {
		opts.Mode, opts.RetainUntilDate = s.mode, time.Now().Add(s.keep).UTC()
		opts.SendContentMd5 = true // S3 asks for it with a retention
	}
	put := func() (minio.UploadInfo, error) {
		return s.client.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(data), int64(len(data)), opts)
	}
	info, err := put()
	if brokenOff(err) {
		info, err = put()
	}
	if err != nil {
		return "", s.failure(err)
	}
	return info.VersionID, nil
}

// patiently bounds a Put: by the usual time, and by twice the time of the last
// one when that was too short. So a store that hangs is noticed soon, and one that
// is as slow as a bad line gets even a large object in the end.
func (s *S3) patiently(ctx context.Context, name string) (_ context.Context, done func()) {
	s.mu.Lock()
	late := s.late[name]
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.timeout<<late)
	return ctx, func() {
		s.mu.Lock()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.late[name] = min(late+1, mostLate)
		} else {
			delete(s.late, name)
		}
		s.mu.Unlock()
		cancel()
	}
}

// brokenOff reports whether the server closed the connection, as servers do
// with one that was idle. net/http tries again by itself only what it knows to
// be harmless, which a PUT is here: it makes an object or finds one.
func brokenOff(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}

// checkLock finds out whether the bucket can lock what it is told to.
func (s *S3) checkLock(ctx context.Context) error {
	if s.keep == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	enabled, _, _, _, err := s.client.GetObjectLockConfig(ctx, s.bucket)
	if err != nil || enabled != "Enabled" {
		return fmt.Errorf("the bucket %s has no Object Lock; it must be made with it (%q, %v)", s.bucket, enabled, err)
	}
	return nil
}

func contentType(name string) string {
	switch {
	case strings.HasSuffix(name, ".zst"):
		return "application/zstd"
	case strings.HasSuffix(name, ".json"):
		return "application/json"
	}
	return "application/octet-stream"
}

// Get is Store's.
func (s *S3) Get(ctx context.Context, name, version string, limit int64) ([]byte, string, error) {
	if err := CheckName(name); err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	core := minio.Core{Client: s.client} // one plain request, no seeking
	body, info, _, err := core.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{VersionID: version})
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, s.failure(err))
	}
	defer body.Close()
	data, err := readAtMost(body, info.Size, limit)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, s.failure(err))
	}
	if info.Size != int64(len(data)) {
		return nil, "", fmt.Errorf("%s: the store promised %d bytes and sent %d", name, info.Size, len(data))
	}
	return data, info.VersionID, nil
}

// Remove is Remover's.
func (s *S3) Remove(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	room := s.room(name)
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + name, WithVersions: true, Recursive: true}) {
		if o.Err != nil {
			return s.failure(o.Err)
		}
		if err := room.take(o.Key); err != nil {
			return err
		}
		if o.Key != s.prefix+name {
			continue // a longer name
		}
		if err := s.client.RemoveObject(ctx, s.bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); err != nil {
			return fmt.Errorf("%s: %w", name, s.failure(err))
		}
	}
	return s.ended(ctx)
}

// Kept is Remover's.
func (s *S3) Kept(ctx context.Context, name string) (time.Time, error) {
	if err := CheckName(name); err != nil {
		return time.Time{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	info, err := s.client.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		if err = s.failure(err); errors.Is(err, ErrNotExist) {
			return time.Time{}, nil
		}
		return time.Time{}, fmt.Errorf("%s: %w", name, err)
	}
	text := info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date")
	if text == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, text)
}

// Traces is Historian's.
func (s *S3) Traces(ctx context.Context, folder string) (list []Trace, folders []string, err error) {
	if err := checkFolder(folder); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()            // also ends the client's goroutine when we leave early
	all := map[string]Trace{} // servers do not agree on an order of versions and delete markers
	room := s.room(folder)
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + folder, WithVersions: true}) {
		if o.Err != nil {
			return nil, nil, s.failure(o.Err)
		}
		if err := room.take(o.Key); err != nil {
			return nil, nil, err
		}
		name, ours := strings.CutPrefix(o.Key, s.prefix)
		switch {
		case !ours || name == folder:
		case strings.HasSuffix(name, "/"):
			folders = append(folders, name)
		default:
			all[name] = all[name].and(o)
		}
	}
	if err := s.ended(ctx); err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if t := all[name]; t.Deleted || t.Revived || t.Versions > 1 {
			t.Name = name
			list = append(list, t)
		}
	}
	slices.Sort(folders)
	return list, folders, nil
}

// and adds a version or a delete marker. A server may name the last one of a page
// again on the next.
func (t Trace) and(o minio.ObjectInfo) Trace {
	if o.LastModified.After(t.Last) {
		t.Last = o.LastModified
	}
	if o.IsDeleteMarker {
		t.Deleted, t.Revived = t.Deleted || o.IsLatest, t.Revived || !o.IsLatest
		return t
	}
	if t.Versions > 0 && o.VersionID == t.last {
		return t
	}
	t.last = o.VersionID
	if t.Versions++; t.Versions == 1 || o.LastModified.Before(t.first) {
		t.First, t.first = o.VersionID, o.LastModified
	}
	return t
}

func (s *S3) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return s.failure(err)
	}
	return nil
}

// List is Store's.
func (s *S3) List(ctx context.Context, folder string) ([]Object, error) {
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel() // also ends the client's goroutine when we leave early
	var list []Object
	room := s.room(folder)
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + folder}) {
		if o.Err != nil {
			return nil, s.failure(o.Err)
		}
		if err := room.take(o.Key); err != nil {
			return nil, err
		}
		name, ours := strings.CutPrefix(o.Key, s.prefix)
		entry := Object{Name: name, Size: o.Size}
		if !ours || name == folder || hidden(entry) {
			continue
		}
		list = append(list, entry)
	}
	if err := s.ended(ctx); err != nil {
		return nil, err
	}
	sortByName(list)
	return list, nil
}

func sortByName(list []Object) {
	slices.SortFunc(list, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
}

// failure turns an error of the client into one of the contract, or into words.
func (s *S3) failure(err error) error {
	var r minio.ErrorResponse
	var reaching *url.Error
	if errors.As(err, &reaching) {
		err = reaching.Err // without the URL, which people need not read
	}
	switch {
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrTooMany):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the store did not answer in time: %w", err)
	case !errors.As(err, &r):
		return fmt.Errorf("the store cannot be reached: %w", err)
	}
	switch {
	case r.StatusCode == http.StatusPreconditionFailed, r.Code == minio.PreconditionFailed,
		r.Code == "ConditionalRequestConflict": // another Put of the same name at this very moment
		return ErrExists
	case r.Code == minio.NoSuchBucket:
		return fmt.Errorf("the bucket %s does not exist: %w", s.bucket, err)
	case r.Code == minio.NoSuchKey, r.Code == "NoSuchVersion":
		return ErrNotExist
	case r.Code == minio.RequestTimeTooSkewed:
		return fmt.Errorf("the store refuses, since its clock and the one of this machine are too far apart; one of them is wrong: %w", err)
	case r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusUnauthorized,
		r.Code == "InvalidAccessKeyId", r.Code == "XAdminUserNotFound": // versitygw says 404 with the latter
		return fmt.Errorf("the store does not let us in: %w", err)
	}
	return err
}
