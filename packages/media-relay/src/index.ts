export * from './api.js';
export * from './forward.js';
export * from './path/path.js';
export * from './session.js';
export * from './shell/relay.js';
