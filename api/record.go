package api

import (
	"net/http"

	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/audit"
	"github.com/sealcast/sealcast/token"
)

// Audit takes the record of who got which key, and who did not; audit.Journal
// has it. After an error nothing may be handed out.
type Audit interface {
	Record(a audit.Access, requestID string) error
}

// onRecord is what the record says about a request on a key route.
func onRecord(r *http.Request) audit.Access {
	x := exchangeOf(r)
	g := x.grant
	return audit.Access{
		Hash: x.hash, Route: x.pattern, Client: x.from,
		Token: g.ID, JTI: g.JTI, SID: g.SID, UID: g.UID, Tag: g.Tag, Subject: g.Title(),
	}
}

// handOut puts the keys that the answer will carry on record. If it cannot, the
// answer must not carry them.
func (s *server) handOut(r *http.Request, keys ...keystore.Key) error {
	for _, key := range keys {
		a := onRecord(r)
		a.KID = key.KID.String()
		if err := s.Audit.Record(a, exchangeOf(r).id); err != nil {
			s.metrics.failed(r, depPostgres)
			return err
		}
	}
	return nil
}

// unverified are the refusals of what carries no verified signature: anybody
// can cause them, at any rate, so they are in the log and not on record.
var unverified = map[string]bool{
	tokenRequired().Code: true, ambiguousCredentials().Code: true,
	token.CodeTooLarge: true, token.CodeInvalid: true,
}

// refused puts on record that a verified token got no key. What is an outage is
// no refusal. The answer is the same whether or not the record can be kept.
func (s *server) refused(r *http.Request, err error) {
	p, x := toProblem(err), exchangeOf(r)
	if x.grant.ID == "" || unverified[p.Code] || (p.Status >= 500 && p.Code != codeKeyIntegrity) {
		return
	}
	a := onRecord(r)
	a.Code = p.Code
	if a.Hash == "" {
		a.Hash = x.grant.Hash // the path names no asset
	}
	if a.Hash == "" {
		a.Hash = "unknown"
	}
	if ok, _ := s.limiter.allow(r.Context(), "refused:"+a.Token, s.KeysPerToken); !ok {
		// It asks for whatever comes to its mind: that is counted, as one thing.
		a.Hash, a.KID, a.Client = manyTitles, "", limitKey(x.client)
	}
	_ = s.Audit.Record(a, x.id)
}

// manyTitles stands for the titles of a token that is refused too often for
// each of its requests to have an entry.
const manyTitles = "many"
