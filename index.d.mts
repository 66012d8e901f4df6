// What `import` gives: the names that index.mjs exports, and the types of index.d.ts.

import cluster from './index.js';

export default cluster;

export type {
  Address,
  AdoptedSocket,
  Block,
  BlockFrame,
  Channel,
  ChannelTarget,
  Cluster,
  ClusterEventMap,
  ClusterSettings,
  ConnectionInfo,
  CpuProfile,
  DiagnosticMessages,
  DisconnectOptions,
  FallbackPolicy,
  FallbackPrimary,
  FallbackWorker,
  Gathered,
  Heir,
  IncomingConnection,
  Leaving,
  MetricsSource,
  NativePrimary,
  NativeWorker,
  ObserveOptions,
  Observer,
  OwnPolicy,
  Peer,
  Policy,
  PolicyByServer,
  PolicyName,
  PolicyTable,
  Readiness,
  RecycleOptions,
  ReloadResult,
  RequestOptions,
  Responder,
  ServerLoad,
  ServerStats,
  Stats,
  StickyPolicy,
  Succession,
  SupervisedWorker,
  SuperviseOptions,
  Supervisor,
  SupervisorEventMap,
  SupervisorStatus,
  WorkerLifeState,
  WorkerOptions,
  WorkerStats,
} from './index.js';

export type Worker = cluster.Worker;
export declare const Worker: typeof cluster.Worker;
export declare const adoptSocket: typeof cluster.adoptSocket;
export declare const bindSession: typeof cluster.bindSession;
export declare const broadcast: typeof cluster.broadcast;
export declare const channel: typeof cluster.channel;
export declare const disconnect: typeof cluster.disconnect;
export declare const fork: typeof cluster.fork;
export declare const handOver: typeof cluster.handOver;
export declare const isMaster: typeof cluster.isMaster;
export declare const isPrimary: typeof cluster.isPrimary;
export declare const isWorker: typeof cluster.isWorker;
export declare const native: typeof cluster.native;
export declare const observe: typeof cluster.observe;
export declare const policyTable: typeof cluster.policyTable;
export declare const profile: typeof cluster.profile;
export declare const publishMetrics: typeof cluster.publishMetrics;
export declare const respond: typeof cluster.respond;
export declare const SCHED_LEAST: typeof cluster.SCHED_LEAST;
export declare const SCHED_NONE: typeof cluster.SCHED_NONE;
export declare const SCHED_REUSEPORT: typeof cluster.SCHED_REUSEPORT;
export declare const SCHED_RR: typeof cluster.SCHED_RR;
export declare const SCHED_STICKY: typeof cluster.SCHED_STICKY;
export declare const schedulingPolicy: typeof cluster.schedulingPolicy;
export declare const settings: typeof cluster.settings;
export declare const setupMaster: typeof cluster.setupMaster;
export declare const setupPrimary: typeof cluster.setupPrimary;
export declare const stats: typeof cluster.stats;
export declare const succeed: typeof cluster.succeed;
export declare const supervise: typeof cluster.supervise;
export declare const worker: typeof cluster.worker;
export declare const workerById: typeof cluster.workerById;
export declare const workers: typeof cluster.workers;
