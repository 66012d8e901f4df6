'use strict';

// A worker that does nothing; its channel keeps it alive.
