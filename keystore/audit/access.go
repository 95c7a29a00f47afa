package audit

import (
	"encoding/json"
	"time"
)

// Access is one attempt of a viewer to get a content key, made with a token
// whose signature was verified. Equal ones within a batch are one entry with a
// count, so that a player which asks a hundred times a second fills no table.
type Access struct {
	Hash   string // the asset that was asked for
	KID    string // the key that was handed out, or asked for; empty: none
	Code   string // why it was refused; empty: it was handed out
	Route  string // the route's pattern
	Client string // address

	Token              string // names the verified token; never the token itself
	JTI, SID, UID, Tag string // of its claims
	Subject            string // its playback key, or what else it was made for
}

// record is an Access that waits to be written.
type record struct {
	Access
	first, last time.Time
	count       int
	requestID   string // of the first
}

// row makes the entry of a record; seq and hash are for the chain to set.
func (r *record) row() row {
	action := ActionRead
	if r.Code != "" {
		action = ActionRefuse
	}
	d := accessDetails{
		KID: r.KID, Code: r.Code, Route: r.Route, Client: r.Client, Token: r.Token,
		JTI: r.JTI, SID: r.SID, UID: r.UID, Tag: r.Tag, Subject: r.Subject, RequestID: r.requestID,
	}
	if r.count > 1 {
		last := r.last.UTC()
		d.Count, d.Last = r.count, &last
	}
	details, _ := json.Marshal(d) // strings and numbers always marshal
	return row{at: r.first.UTC().Truncate(time.Microsecond), actor: ActorViewer, action: action, subject: r.Hash, details: string(details)}
}

// accessDetails are the details of key.read and key.refuse.
type accessDetails struct {
	KID       string     `json:"kid,omitempty"`
	Code      string     `json:"code,omitempty"`
	Route     string     `json:"route,omitempty"`
	Client    string     `json:"client,omitempty"`
	Token     string     `json:"token,omitempty"`
	JTI       string     `json:"jti,omitempty"`
	SID       string     `json:"sid,omitempty"`
	UID       string     `json:"uid,omitempty"`
	Tag       string     `json:"tag,omitempty"`
	Subject   string     `json:"sub,omitempty"`
	RequestID string     `json:"request_id,omitempty"`
	Count     int        `json:"count,omitempty"` // 2 or more equal ones
	Last      *time.Time `json:"last,omitempty"`
}
