// What `import` gives: the names that net.mjs exports, and the types of net.d.ts.

import net from './net.js';

export default net;
export * from './net.js';
