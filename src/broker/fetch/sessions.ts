/** Incremental fetch sessions (KIP-227). */
export interface FetchSessions {}
