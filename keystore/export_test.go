package keystore

import "time"

// QueryServed is the query of reader.
const QueryServed = queryServed

// Remember lets Served remember rows for so long, in place of a second.
func (p *Postgres) Remember(keep time.Duration) { p.remembered.keep = keep }

// Hear lets the store remember without a connection.
func (p *Postgres) Hear() { p.remembered.forget(true) }

// Remembers counts the rows.
func (p *Postgres) Remembers() int {
	p.remembered.mu.Lock()
	defer p.remembered.mu.Unlock()
	return len(p.remembered.rows)
}

// Age makes every row older.
func (p *Postgres) Age(by time.Duration) {
	p.remembered.mu.Lock()
	defer p.remembered.mu.Unlock()
	for _, r := range p.remembered.rows {
		r.asked = r.asked.Add(-by)
	}
}
