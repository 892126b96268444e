/** Every page but the first, in one file: one request, whichever is opened. */

import artifacts from "./artifacts";
import cluster from "./cluster";
import compare from "./compare";
import pipeline from "./pipeline";
import pipelines from "./pipelines";
import recurringruns from "./recurring";
import run from "./run";
import training from "./training";

export const PAGES = { artifacts, cluster, compare, pipeline, pipelines, recurringruns, run, training };
