export * from './admin.js';
export * from './config.js';
export * from './health.js';
export * from './lifecycle.js';
export * from './logger.js';
export * from './metrics.js';
export * from './system.js';
export * from './units.js';
