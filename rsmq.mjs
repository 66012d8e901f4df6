// What `import` gives: `import RedisSMQ from 'corral/rsmq'`.

import RedisSMQ from './rsmq.js';

export default RedisSMQ;
