import type { OpenDataPath } from './path.js';

export const openDataPath: OpenDataPath = async () => {
  throw new Error('no data path yet');
};
