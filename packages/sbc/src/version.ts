/** Of the package, for the status page and the table at the start. */
export const VERSION = '0.1.0';
