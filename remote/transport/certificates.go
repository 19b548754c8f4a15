// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files names what is read: PEM, each by its path, so that volumes of Secrets and
// renamed files are followed alike.
type Files struct {
	// Cert and Key are the certificate that this side shows, with what leads from it
	// to the CA, and its key. A client may have neither.
	Cert, Key string
	// CA holds the certificates that one of the peer must lead to. A server that asks
	// for client certificates needs it; a client without it takes the system's.
	CA string
}

// CertificatesConfig is how to read and use [Files].
type CertificatesConfig struct {
	// Poll is how often the files are read; 0 is every minute.
	Poll time.Duration
	// MinVersion is the oldest TLS to speak, such as tls.VersionTLS12; 0 is TLS 1.3.
	MinVersion uint16
	// Logger tells of new certificates and of files that cannot be used. nil is
	// silent.
	Logger *slog.Logger
}

const defaultPoll = time.Minute

// Certificates are read from files, and again as these change. New connections use
// what was last read; those there are go on with what they began with, until
// [ServerLimits.MaxConnectionAge]. Its methods may be called from any goroutine.
type Certificates struct {
	files   Files
	cfg  CertificatesConfig
	logger  *slog.Logger
	current atomic.Pointer[fileSet]

	mu  sync.Mutex
	err error // of the last reading
}

// fileSet is what was read at one time. It never changes.
type fileSet struct {
	hash  [sha256.Size]byte
	pair  *tls.Certificate // nil if there is none
	roots *x509.CertPool   // nil if there is no CA file
}

// NewCertificates reads files once, and fails if they cannot be used. Call Run to
// follow them.
func NewCertificates(files Files, config CertificatesConfig) (*Certificates, error) {
	if config.Poll <= 0 {
		config.Poll = defaultPoll
	}
	switch config.MinVersion {
	case 0:
		config.MinVersion = tls.VersionTLS13
	case tls.VersionTLS12, tls.VersionTLS13:
	default:
		return nil, fmt.Errorf("transport: CertificatesConfig.MinVersion is %s; only TLS 1.2 and 1.3 are safe", tls.VersionName(config.MinVersion))
	}
	if (files.Cert == "") != (files.Key == "") {
		return nil, errors.New("transport: of Files.Cert and Files.Key only one is given")
	}
	m, err := files.read()
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	c := &Certificates{files: files, cfg: config, logger: silentIfNil(config.Logger)}
	c.current.Store(m)
	return c, nil
}

// Run reads the files again and again until ctx is done, and then returns nil. Files
// that cannot be used change nothing but [Certificates.Err].
func (c *Certificates) Run(ctx context.Context) error {
	poll := time.NewTicker(c.cfg.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
			c.reload()
		}
	}
}

// Err says what is wrong: the files could not be used when they were last read, so an
// older certificate or CA is in use, or the certificate in use has expired.
func (c *Certificates) Err() error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if end := c.NotAfter(); err == nil && !end.IsZero() && !time.Now().Before(end) {
		return fmt.Errorf("transport: the certificate in %s has expired at %s", c.files.Cert, end.Format(time.RFC3339))
	}
	return err
}

// NotAfter is when the certificate in use expires, or zero if there is none.
func (c *Certificates) NotAfter() time.Time {
	if pair := c.current.Load().pair; pair != nil {
		return pair.Leaf.NotAfter
	}
	return time.Time{}
}

func (c *Certificates) reload() {
	m, err := c.files.read()
	if err != nil { // perhaps a volume was swapped between one file and the next
		m, err = c.files.read()
	}
	if err != nil {
		err = fmt.Errorf("transport: %w", err)
	}
	c.report(err)
	if err != nil || m.hash == c.current.Load().hash {
		return
	}
	c.current.Store(m)
	c.logger.Info("using new certificates", "cert", c.files.Cert, "ca", c.files.CA, "notAfter", c.NotAfter())
}

// report remembers an error, and logs it when it is another than last time.
func (c *Certificates) report(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil && (c.err == nil || c.err.Error() != err.Error()):
		c.logger.Warn("cannot use certificate files; keeping what is in use", "err", err)
	case err == nil && c.err != nil:
		c.logger.Info("certificate files can be used again")
	}
	c.err = err
}

// read reads all files. The names of files are in its errors, and never their content.
func (f Files) read() (*fileSet, error) {
	hash, m := sha256.New(), &fileSet{}
	contents := func(path string) ([]byte, error) {
		if path == "" {
			return nil, nil
		}
		content, err := os.ReadFile(path)
		hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(content))))
		hash.Write(content)
		return content, err
	}
	cert, err := contents(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("Files.Cert: %w", err)
	}
	key, err := contents(f.Key)
	if err != nil {
		return nil, fmt.Errorf("Files.Key: %w", err)
	}
	ca, err := contents(f.CA)
	if err != nil {
		return nil, fmt.Errorf("Files.CA: %w", err)
	}
	if f.Cert != "" {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("Files.Cert %s with Files.Key %s: %w", f.Cert, f.Key, err)
		}
		m.pair = &pair
	}
	if f.CA != "" {
		if m.roots, err = pool(ca); err != nil {
			return nil, fmt.Errorf("Files.CA %s: %w", f.CA, err)
		}
	}
	hash.Sum(m.hash[:0])
	return m, nil
}

// pool reads a bundle of certificates. One that cannot be read fails all: to distrust
// somebody in silence is worse than to keep what was there.
func pool(bundle []byte) (*x509.CertPool, error) {
	roots, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		n++
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n, err)
		}
		roots.AddCert(cert)
	}
	if n == 0 {
		return nil, errors.New("holds no certificate")
	}
	return roots, nil
}

func silentIfNil(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return logger
}
