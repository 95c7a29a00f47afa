package keystore

// QueryServed is the query of reader.
const QueryServed = queryServed
