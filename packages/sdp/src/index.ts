export * from './error.js';
export * from './parse.js';
export * from './section.js';
export * from './value.js';
