// What `import` gives: the names that bus.mjs exports, and the types of bus.d.ts.

import bus from './bus.js';

export default bus;
export * from './bus.js';
