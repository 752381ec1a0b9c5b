/*
 * Theory of the four transactions (RFC 3261 §17, corrected by RFC 6026 and RFC 4320).
 *
 * A transaction makes one request and its responses reliable over one hop. Each machine below is a table:
 * state → event → next state and what to do on the way, in that order; an event that a state doesn't list is
 * ignored there. The state is set before anything is done, and `deliver`, `report…` and `timeout` come last,
 * so that a user who calls back in finds the transaction as it will be. `docs/transactions.md` is drawn from
 * these tables.
 *
 * A transaction has two clocks. `again` repeats a message that went over an unreliable transport (timers A, E, G:
 * T1, doubling; E and G only up to T2) — and, whatever the transport, a 2xx to an INVITE, which nobody but the
 * caller's UA acknowledges (§13.3.1.4). `end` bounds every state:
 *
 *   client INVITE      calling: B = 64·T1 · proceeding: C (> 3 min, §16.6 step 11, restarted by every 1xx > 100;
 *                      with a CANCEL out: 64·T1, §9.1) · accepted: M = 64·T1 · completed: D = 64·T1, 0 when reliable
 *   client non-INVITE  trying and proceeding: F = 64·T1 · completed: K = T4, 0 when reliable
 *   server INVITE      proceeding: Z, ours, so that a user who forgets a call can't keep it for ever ·
 *                      accepted: L = 64·T1 · completed: H = 64·T1 · confirmed: I = T4, 0 when reliable
 *   server non-INVITE  trying and proceeding: Z = 64·T1, after which no client listens any more (RFC 4320) ·
 *                      completed: J = 64·T1, 0 when reliable
 *
 * RFC 6026: a 2xx no longer ends an INVITE transaction but moves it to `accepted`, where the client hands every
 * further 2xx to its user (other forks, retransmissions) and the server swallows INVITE retransmissions.
 * RFC 4320: a non-INVITE gets no early 100, and never a 408.
 *
 * Transport errors: a client is told and ends; a server is told and lives on, because its peer may come back on a
 * new connection and retransmit.
 */

/** What a table entry may ask for; `ClientTransaction` and `ServerTransaction` each carry out theirs. */
export type ClientAction =
  | 'resend'
  | 'stopAgain'
  | 'slowAgain'
  | 'armC'
  | 'restartC'
  | 'armD'
  | 'armK'
  | 'armM'
  | 'noteCancel'
  | 'sendCancel'
  | 'flushCancel'
  | 'makeAck'
  | 'resendAck'
  | 'deliver'
  | 'deliver2xx'
  | 'timeout'
  | 'reportError';
export type ServerAction =
  | 'send'
  | 'resend'
  | 'armG'
  | 'armG2xx'
  | 'armH'
  | 'armI'
  | 'armJ'
  | 'armL'
  | 'armZ'
  | 'stopAgain'
  | 'ackMissing'
  | 'abandon'
  | 'reportError';

export type ClientState = 'calling' | 'trying' | 'proceeding' | 'accepted' | 'completed' | 'terminated';
export type ServerState = 'trying' | 'proceeding' | 'accepted' | 'completed' | 'confirmed' | 'terminated';

export type ClientEvent =
  | '100'
  | '1xx'
  | '2xx'
  | '3xx-6xx'
  | 'cancel'
  | 'A'
  | 'B'
  | 'C'
  | 'X'
  | 'D'
  | 'E'
  | 'F'
  | 'K'
  | 'M'
  | 'transport-error';
export type ServerEvent =
  | 'request'
  | 'ACK'
  | 'reply-1xx'
  | 'reply-2xx'
  | 'reply-3xx-6xx'
  | 'acknowledged'
  | 'G'
  | 'H'
  | 'I'
  | 'J'
  | 'L'
  | 'Z'
  | 'transport-error';

interface Transition<State, Action> {
  readonly to: State;
  readonly do: readonly Action[];
}
export type Machine<State extends string, Event extends string, Action> = {
  readonly [S in State]?: { readonly [E in Event]?: Transition<State, Action> };
};

/** RFC 3261 §17.1.1 with RFC 6026 §7.2, and §9.1 for CANCEL. X: 64·T1 after the CANCEL. */
export const INVITE_CLIENT = {
  calling: {
    '100': { to: 'proceeding', do: ['stopAgain', 'armC', 'flushCancel'] },
    '1xx': { to: 'proceeding', do: ['stopAgain', 'armC', 'flushCancel', 'deliver'] },
    '2xx': { to: 'accepted', do: ['stopAgain', 'armM', 'deliver2xx'] },
    '3xx-6xx': { to: 'completed', do: ['stopAgain', 'armD', 'makeAck', 'deliver'] },
    cancel: { to: 'calling', do: ['noteCancel'] },
    A: { to: 'calling', do: ['resend'] },
    B: { to: 'terminated', do: ['timeout'] },
    'transport-error': { to: 'terminated', do: ['reportError'] },
  },
  proceeding: {
    '1xx': { to: 'proceeding', do: ['restartC', 'deliver'] },
    '2xx': { to: 'accepted', do: ['armM', 'deliver2xx'] },
    '3xx-6xx': { to: 'completed', do: ['armD', 'makeAck', 'deliver'] },
    cancel: { to: 'proceeding', do: ['sendCancel'] },
    C: { to: 'proceeding', do: ['sendCancel', 'timeout'] },
    X: { to: 'terminated', do: ['timeout'] },
    'transport-error': { to: 'terminated', do: ['reportError'] },
  },
  accepted: {
    '2xx': { to: 'accepted', do: ['deliver2xx'] },
    M: { to: 'terminated', do: [] },
  },
  completed: {
    '3xx-6xx': { to: 'completed', do: ['resendAck'] },
    D: { to: 'terminated', do: [] },
    'transport-error': { to: 'terminated', do: [] },
  },
} as const satisfies Machine<ClientState, ClientEvent, ClientAction>;

/** RFC 3261 §17.1.2. */
export const NON_INVITE_CLIENT = {
  trying: {
    '100': { to: 'proceeding', do: ['slowAgain'] },
    '1xx': { to: 'proceeding', do: ['slowAgain', 'deliver'] },
    '2xx': { to: 'completed', do: ['stopAgain', 'armK', 'deliver'] },
    '3xx-6xx': { to: 'completed', do: ['stopAgain', 'armK', 'deliver'] },
    E: { to: 'trying', do: ['resend'] },
    F: { to: 'terminated', do: ['timeout'] },
    'transport-error': { to: 'terminated', do: ['reportError'] },
  },
  proceeding: {
    '1xx': { to: 'proceeding', do: ['deliver'] },
    '2xx': { to: 'completed', do: ['stopAgain', 'armK', 'deliver'] },
    '3xx-6xx': { to: 'completed', do: ['stopAgain', 'armK', 'deliver'] },
    E: { to: 'proceeding', do: ['resend'] },
    F: { to: 'terminated', do: ['timeout'] },
    'transport-error': { to: 'terminated', do: ['reportError'] },
  },
  completed: {
    K: { to: 'terminated', do: [] },
    'transport-error': { to: 'terminated', do: [] },
  },
} as const satisfies Machine<ClientState, ClientEvent, ClientAction>;

/** RFC 3261 §17.2.1 with RFC 6026 §7.1; a 2xx is repeated here until the dialog says `acknowledged` (§13.3.1.4). */
export const INVITE_SERVER = {
  proceeding: {
    request: { to: 'proceeding', do: ['resend'] },
    'reply-1xx': { to: 'proceeding', do: ['armZ', 'send'] },
    'reply-2xx': { to: 'accepted', do: ['armG2xx', 'armL', 'send'] },
    'reply-3xx-6xx': { to: 'completed', do: ['armG', 'armH', 'send'] },
    Z: { to: 'proceeding', do: ['abandon'] },
    'transport-error': { to: 'proceeding', do: ['reportError'] },
  },
  accepted: {
    request: { to: 'accepted', do: [] },
    'reply-2xx': { to: 'accepted', do: ['send'] },
    acknowledged: { to: 'accepted', do: ['stopAgain'] },
    G: { to: 'accepted', do: ['resend'] },
    L: { to: 'terminated', do: ['ackMissing'] },
    'transport-error': { to: 'accepted', do: ['reportError'] },
  },
  completed: {
    request: { to: 'completed', do: ['resend'] },
    ACK: { to: 'confirmed', do: ['stopAgain', 'armI'] },
    G: { to: 'completed', do: ['resend'] },
    H: { to: 'terminated', do: ['ackMissing'] },
    'transport-error': { to: 'completed', do: ['reportError'] },
  },
  confirmed: {
    request: { to: 'confirmed', do: [] },
    ACK: { to: 'confirmed', do: [] },
    I: { to: 'terminated', do: [] },
  },
} as const satisfies Machine<ServerState, ServerEvent, ServerAction>;

/** RFC 3261 §17.2.2, RFC 4320 §4. */
export const NON_INVITE_SERVER = {
  trying: {
    request: { to: 'trying', do: [] },
    'reply-1xx': { to: 'proceeding', do: ['send'] },
    'reply-2xx': { to: 'completed', do: ['armJ', 'send'] },
    'reply-3xx-6xx': { to: 'completed', do: ['armJ', 'send'] },
    Z: { to: 'terminated', do: [] },
    'transport-error': { to: 'trying', do: ['reportError'] },
  },
  proceeding: {
    request: { to: 'proceeding', do: ['resend'] },
    'reply-1xx': { to: 'proceeding', do: ['send'] },
    'reply-2xx': { to: 'completed', do: ['armJ', 'send'] },
    'reply-3xx-6xx': { to: 'completed', do: ['armJ', 'send'] },
    Z: { to: 'terminated', do: [] },
    'transport-error': { to: 'proceeding', do: ['reportError'] },
  },
  completed: {
    request: { to: 'completed', do: ['resend'] },
    J: { to: 'terminated', do: [] },
    'transport-error': { to: 'completed', do: ['reportError'] },
  },
} as const satisfies Machine<ServerState, ServerEvent, ServerAction>;
