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

// Files are the paths of PEM files. They are read by path each time, so that mounted
// Secrets and renamed files are followed.
type Files struct {
	// Cert and Key are the certificate of this side, followed by its intermediates, and its
	// private key. Both are optional for a client.
	Cert, Key string
	// CA holds the root certificates for verifying the peer. A server that asks for client
	// certificates requires it; a client without it uses the roots of the system.
	CA string
}

// CertificatesConfig configures [NewCertificates].
type CertificatesConfig struct {
	// Poll is the interval between two reads of the files; 0 means 1 min.
	Poll time.Duration
	// MinVersion is the minimum TLS version, tls.VersionTLS12 or tls.VersionTLS13; 0 means
	// TLS 1.3.
	MinVersion uint16
	// Logger receives new certificates and files that cannot be used. nil is silent.
	Logger *slog.Logger
}

const defaultPoll = time.Minute

// Certificates are read from files, and read again when the files change. New connections
// use the files that were read last; existing ones keep theirs until
// [ServerLimits.MaxConnectionAge]. Methods may be called from any goroutine.
type Certificates struct {
	files   Files
	cfg     CertificatesConfig
	logger  *slog.Logger
	current atomic.Pointer[fileSet]

	mu  sync.Mutex
	err error // of the last read
}

// A fileSet is the content of the files at one time. It is immutable.
type fileSet struct {
	hash  [sha256.Size]byte
	pair  *tls.Certificate // nil if there is none
	roots *x509.CertPool   // nil if there is no CA file
}

// NewCertificates reads the files once. The error names the file or field that is invalid.
// Call [Certificates.Run] to follow changes.
func NewCertificates(files Files, cfg CertificatesConfig) (*Certificates, error) {
	if cfg.Poll <= 0 {
		cfg.Poll = defaultPoll
	}
	switch cfg.MinVersion {
	case 0:
		cfg.MinVersion = tls.VersionTLS13
	case tls.VersionTLS12, tls.VersionTLS13:
	default:
		return nil, fmt.Errorf("transport: CertificatesConfig.MinVersion: %s is not supported, want TLS 1.2 or 1.3", tls.VersionName(cfg.MinVersion))
	}
	if (files.Cert == "") != (files.Key == "") {
		return nil, errors.New("transport: Files.Cert, Files.Key: set both or none")
	}
	m, err := files.read()
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	c := &Certificates{files: files, cfg: cfg, logger: silentIfNil(cfg.Logger)}
	c.current.Store(m)
	return c, nil
}

// Run polls the files until ctx ends, and then returns nil. While files cannot be used, the
// previous ones stay in use and [Certificates.Err] returns the error. Calls must not
// overlap.
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

// Err returns an error when the files could not be used at the last read, so that older
// ones are in use, or when the certificate in use has expired.
func (c *Certificates) Err() error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if end := c.NotAfter(); err == nil && !end.IsZero() && !time.Now().Before(end) {
		return fmt.Errorf("transport: certificate %s expired at %s", c.files.Cert, end.Format(time.RFC3339))
	}
	return err
}

// NotAfter returns when the certificate in use expires, or the zero time without one.
func (c *Certificates) NotAfter() time.Time {
	if pair := c.current.Load().pair; pair != nil {
		return pair.Leaf.NotAfter
	}
	return time.Time{}
}

func (c *Certificates) reload() {
	m, err := c.files.read()
	if err != nil { // a volume may have been replaced between two files
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
	c.logger.Info("Loaded new certificates", "cert", c.files.Cert, "ca", c.files.CA, "notAfter", c.NotAfter())
}

// report stores an error and logs it when it differs from the previous one.
func (c *Certificates) report(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil && (c.err == nil || c.err.Error() != err.Error()):
		c.logger.Warn("Certificate files are invalid, keeping the previous ones", "err", err)
	case err == nil && c.err != nil:
		c.logger.Info("Certificate files are valid again")
	}
	c.err = err
}

// read reads all files. Errors contain the names of files, never their content.
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

// pool parses a bundle of certificates. One invalid certificate fails all: dropping a CA
// silently is worse than keeping the previous bundle.
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
		return nil, errors.New("contains no certificate")
	}
	return roots, nil
}

func silentIfNil(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return logger
}
