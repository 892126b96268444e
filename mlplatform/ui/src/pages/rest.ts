/** Every page but the first, in one file: one request, whichever is opened. */

import artifacts from "./artifacts";
import compare from "./compare";
import pipeline from "./pipeline";
import pipelines from "./pipelines";
import recurringruns from "./recurring";
import run from "./run";

export const PAGES = { artifacts, compare, pipeline, pipelines, recurringruns, run };
