export * from 'node:net';
