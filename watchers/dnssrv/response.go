// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// errOtherQuestion is the error of a message that is not the response to the question.
var errOtherQuestion = errors.New("response to another question")

// A response is what a server answers to a question.
type response struct {
	rcode     dnsmessage.RCode
	truncated bool
	// answers has records of the types that this package reads, in the order of the message.
	answers []record
	// glue has the A and AAAA records of the additional section.
	glue []record
	// negative is the TTL of the absence of records, or -1 if the server has sent none.
	negative time.Duration
	// referral reports whether the server names others that have the answer.
	referral bool
}

// A record is an SRV, A, AAAA or CNAME record. Its name is in lower case.
type record struct {
	name       string
	recordType dnsmessage.Type
	ttl        time.Duration
	addr       netip.Addr             // of A and AAAA
	alias      string                 // of CNAME
	srv        dnsmessage.SRVResource // of SRV
}

// parse parses the response to q.
func parse(msg []byte, q question) (*response, error) {
	var p dnsmessage.Parser
	header, err := p.Start(msg)
	if err != nil || header.ID != q.id || !header.Response {
		return nil, errOtherQuestion
	}
	asked, err := p.Question()
	switch {
	case errors.Is(err, dnsmessage.ErrSectionDone) && header.RCode == dnsmessage.RCodeFormatError:
		return &response{rcode: header.RCode}, nil // some servers do not repeat what they cannot read
	case err != nil || asked.Type != q.recordType || asked.Class != dnsmessage.ClassINET || !strings.EqualFold(asked.Name.String(), q.name.String()):
		return nil, errOtherQuestion
	}
	r := &response{rcode: header.RCode, truncated: header.Truncated, negative: -1}
	if r.truncated {
		return r, nil // the sections may end in the middle of a set of records
	}
	if err := r.parseSections(&p); err != nil {
		return nil, fmt.Errorf("malformed response: %w", err)
	}
	return r, nil
}

func (r *response) parseSections(p *dnsmessage.Parser) error {
	if err := p.SkipAllQuestions(); err != nil {
		return err
	}
	answers, err := p.AllAnswers()
	if err != nil {
		return err
	}
	r.answers = records(answers)
	authorities, err := p.AllAuthorities()
	if err != nil {
		return err
	}
	for i := range authorities {
		switch body := authorities[i].Body.(type) {
		case *dnsmessage.SOAResource: // RFC 2308, section 5
			r.negative = ttlOf(min(authorities[i].Header.TTL, body.MinTTL))
		case *dnsmessage.NSResource:
			r.referral = true
		}
	}
	r.referral = r.referral && r.negative < 0 && len(r.answers) == 0
	additional, err := p.AllAdditionals()
	if err != nil {
		return err
	}
	for i := range additional {
		if h := &additional[i].Header; h.Type == dnsmessage.TypeOPT {
			r.rcode = h.ExtendedRCode(r.rcode)
		}
	}
	for _, glue := range records(additional) {
		if glue.addr.IsValid() {
			r.glue = append(r.glue, glue)
		}
	}
	return nil
}

// failure returns an error if r neither has records nor denies that there are any.
func (r *response) failure() error {
	switch {
	case r.rcode != dnsmessage.RCodeSuccess && r.rcode != dnsmessage.RCodeNameError:
		return errors.New(rcodeName(r.rcode))
	case r.referral:
		return errors.New("refers to other servers and does not ask them (no recursion)")
	}
	return nil
}

// rcodeName returns the name of a response code as DNS tools print it.
func rcodeName(code dnsmessage.RCode) string {
	switch code {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNameError:
		return "NXDOMAIN"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return fmt.Sprintf("response code %d", code)
}

// records returns the records of the types that this package reads.
func records(resources []dnsmessage.Resource) (out []record) {
	for i := range resources {
		h := &resources[i].Header
		r := record{name: strings.ToLower(h.Name.String()), recordType: h.Type, ttl: ttlOf(h.TTL)}
		if h.Class != dnsmessage.ClassINET {
			continue
		}
		switch body := resources[i].Body.(type) {
		case *dnsmessage.AResource:
			r.addr = netip.AddrFrom4(body.A)
		case *dnsmessage.AAAAResource:
			r.addr = netip.AddrFrom16(body.AAAA)
		case *dnsmessage.CNAMEResource:
			r.alias = strings.ToLower(body.CNAME.String())
		case *dnsmessage.SRVResource:
			r.srv = *body
		default:
			continue
		}
		out = append(out, r)
	}
	return out
}

// ttlOf returns a TTL. One with the highest bit set is 0 (RFC 2181, section 8).
func ttlOf(seconds uint32) time.Duration {
	if seconds > math.MaxInt32 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// follow returns the records of a type at the end of the aliases that begin at name, with the
// lowest TTL on the way.
func (r *response) follow(name string, t dnsmessage.Type) (found []record, end string, ttl time.Duration) {
	ttl = math.MaxInt64
	for range maxAliases {
		alias := ""
		for _, a := range r.answers {
			switch {
			case a.name != name:
			case a.recordType == t:
				found, ttl = append(found, a), min(ttl, a.ttl)
			case a.alias != "" && alias == "":
				alias = a.alias
				ttl = min(ttl, a.ttl)
			}
		}
		if len(found) > 0 || alias == "" {
			return found, name, ttl
		}
		name = alias
	}
	return nil, name, ttl
}

// maxAliases bounds a chain of aliases.
const maxAliases = 8
