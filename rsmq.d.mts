// What `import` gives: the class of rsmq.d.ts.

import RedisSMQ from './rsmq.js';

export default RedisSMQ;
