"""Every field there is, with its meaning. An experiment starts from here and changes a few.

A field set to "" or 0 is off. Sizes are in pixels of the high-resolution (HR) image, intervals in generator updates.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.seed = 0  # with this config and the step it fixes all samples, on a CPU every bit of a run
    c.scale = 4  # 2, 3, 4 or 8; 1: image to image (pix2pix)
    c.steps = 1_000_000  # generator updates in the whole run
    c.batch_size = 16  # crops per update over all devices together
    c.steps_per_call = 1  # updates compiled into one call; more spares the host on an accelerator
    c.dtype = "float32"  # of the networks' arithmetic: float32 | bfloat16; parameters and losses stay float32
    c.init_from = ""  # whose generator this starts from (SRGAN: SRResNet's): a run, a .safetensors or a built-in name

    c.data = ConfigDict()
    c.data.source = "bundled"  # bundled | folder | tfds
    c.data.path = ""  # folder: where the photographs are; tfds: its data_dir ("" = tfds's own default)
    c.data.name = ""  # tfds: builder and config, e.g. div2k/bicubic_x4
    c.data.input = "lr"  # what G sees: lr | at scale 1: upscaled (HR shrunken, enlarged again) | grey | edges | pair
    c.data.shrink = 4  # upscaled: so many times
    c.data.target = ""  # pair: folder: what those of path are to become ("" = right halves); tfds: feature or split
    c.data.direction = "AtoB"  # pair, side by side: the input is the left half | BtoA: the right
    c.data.split = "train"  # bundled: train | validation; tfds: any split string
    c.data.feature = ""  # tfds: which image feature ("" = hr, image, or the only one)
    c.data.store = ""  # folder, tfds: where decoded photographs are kept ("" = the cache, "none" = nowhere)
    c.data.pipeline = "auto"  # device (kept and cropped on the accelerator) | host (Grain) | auto: device if they fit
    c.data.crop = 96  # side of the square HR crop, a multiple of scale
    c.data.resize = 0  # every photograph is made a square of this side before crops are cut (0 = stays as it is)
    c.data.jitter = 0  # each crop is enlarged to this side and cut to data.crop again, anywhere (pix2pix: 286; 0 = off)
    c.data.augment = True  # the 8 flips and quarter turns
    c.data.turn = True  # augment: False mirrors left to right, and no more
    c.data.boundary = "symmetric"  # bicubic at the border: symmetric (MATLAB today, DIV2K) | clamp (old MATLAB)
    c.data.jpeg = ()  # what G sees is saved as JPEG first: lowest and highest quality, drawn for each crop (() = not)
    c.data.tile = 256  # device: side of the stored tiles; a crop never crosses a tile's edge
    c.data.threads = 4  # host: decoding threads
    c.data.cache_mb = 2048  # host, without a store: decoded photographs kept in memory, in MB (0 = none)

    c.generator = ConfigDict()
    c.generator.name = "srresnet"  # srresnet | msrresnet (BasicSR) | rrdb (ESRGAN) | unet | resnet (pix2pix)
    c.generator.blocks = 16  # not unet
    c.generator.features = 64  # msrresnet: nothing that follows; rrdb: growth alone
    c.generator.growth = 32  # rrdb: features that each convolution of a dense block adds
    c.generator.norm = "batch"  # batch | none | unet, resnet: instance
    c.generator.norm_epsilon = 1e-5  # torch has 1e-5, Keras 1e-3
    c.generator.prelu = "shared"  # one slope per layer: shared | per channel: channel
    c.generator.output = "none"  # none | tanh
    c.generator.skip = "none"  # none | bicubic: the network adds to a bicubic enlargement
    c.generator.levels = 8  # unet: halvings of the picture; its sides are multiples of 2**levels (8: 256, 7: 128)
    c.generator.dropout = 0.0  # unet, resnet: share of features dropped while training, G's noise (pix2pix: 0.5)
    c.generator.inference_norm = "running"  # unet, resnet, norm batch: statistics in use: running | batch (its own)
    c.generator.first_kernel = 9
    c.generator.last_kernel = 9
    c.generator.icnr = True  # start pixel shuffle as nearest neighbour: no checkerboard

    c.discriminator = ConfigDict()
    c.discriminator.name = "none"  # none (SRResNet: no second player) | srgan | patchgan
    c.discriminator.conditional = False  # D sees G's input too (an LR enlarged by bicubic), as pix2pix's does
    c.discriminator.patch = 70  # patchgan: side in pixels of what each logit judges: 1 | 16 | 34 | 70 | 142 | 286
    c.discriminator.features = 64
    c.discriminator.dense = 1024
    c.discriminator.stages = 4  # srgan: halvings of the crop, two convolutions each, before the dense layer
    c.discriminator.norm = "batch"  # batch | instance | none
    c.discriminator.one_pass = False  # real and generated images in one batch, of which norm batch has the statistics
    c.discriminator.pool = 0  # of so many earlier outputs of G, D sees one in place of every second new one (0 = off)
    c.discriminator.loss_weight = 1.0  # of D's loss (pix2pix: 0.5)
    c.discriminator.updates = 1  # discriminator updates, each on fresh crops, per generator update

    c.loss = ConfigDict()  # total = sum of weight * term; a term of weight 0 is not computed
    c.loss.pixel = ConfigDict()
    c.loss.pixel.kind = "mse"  # mse | l1 | charbonnier, on [-1, 1] images
    c.loss.pixel.weight = 1.0
    c.loss.feature = ConfigDict()
    c.loss.feature.weight = 0.0
    c.loss.feature.weight_for = "caffe"  # weights that weight and scale were chosen for: caffe | torchvision
    c.loss.feature.kind = "mse"  # mse | l1 (ESRGAN)
    c.loss.feature.network = "vgg19"  # vgg19 | vgg16
    c.loss.feature.layer = "5.4"  # i.j: the j-th convolution before the i-th max-pool
    c.loss.feature.after_relu = True
    c.loss.feature.scale = 1 / 12.75  # the paper's, on the features (about 0.006 on the loss); fits origin caffe
    c.loss.feature.channels = "mean"  # mean | sum; equation 5 read literally sums
    c.loss.feature.origin = "caffe"  # whose weights: caffe | torchvision; decides the input's convention
    c.loss.feature.weights = ""  # .npz or .safetensors file, or "random" (for timing only)
    c.loss.lpips = ConfigDict()  # the distance LPIPS, after `srgan convert lpips`
    c.loss.lpips.weight = 0.0
    c.loss.lpips.network = "vgg"  # vgg | alex (what figures are mostly measured by)
    c.loss.adversarial = ConfigDict()
    c.loss.adversarial.kind = "nonsaturating"  # nonsaturating | minimax | lsgan | hinge | relativistic | wgan-gp
    c.loss.adversarial.weight = 0.0
    c.loss.adversarial.gradient_penalty = 10.0  # wgan-gp only; its paper: b1 0, b2 0.9, 5 D updates
    c.loss.tv = ConfigDict()
    c.loss.tv.weight = 0.0

    c.optimizer = ConfigDict()  # the same for both players
    c.optimizer.name = "adam"  # adam | sgd (plain: it shows a gradient's scale, which Adam hides)
    c.optimizer.learning_rate = 1e-4
    c.optimizer.b1 = 0.9
    c.optimizer.b2 = 0.999
    c.optimizer.eps = 1e-8
    c.optimizer.schedule = "constant"  # constant | step (times factor at boundaries) | cosine, linear (to 0 at steps)
    c.optimizer.boundaries = ()  # step: at these updates; linear: falls from the one given on (none: from 0)
    c.optimizer.factor = 0.1
    c.optimizer.warmup = 0  # updates over which the rate rises linearly from 0
    c.ema = 0.0  # decay of the generator's averaged parameters, used for validation and results (0 = off)

    c.parallel = ConfigDict()  # over all devices of all processes; batch_size is divided by their number
    c.parallel.mode = "jit"  # jit | pmap | shard_map: the same update, spread in another way
    c.parallel.batch_norm = "global"  # statistics of: global, the whole batch | replica, each device's part (not jit)
    c.parallel.accumulate = 1  # parts that the batch is taken in; BatchNorm and other means over it see one at a time

    c.guard = ConfigDict()  # an update with a figure that is not finite is skipped
    c.guard.patience = 10  # skipped in a row: back to the last checkpoint, at a lower learning rate
    c.guard.factor = 0.5  # of the rate, each time
    c.guard.rollbacks = 3  # so often; then training stops
    c.guard.watchdog = 600.0  # seconds without a step until a stalled run is ended (0 = never)

    c.log = ConfigDict()
    c.log.every = 100
    c.log.tensorboard = True

    c.checkpoint = ConfigDict()
    c.checkpoint.every = 5000
    c.checkpoint.keep = 2  # the newest ones; the best by validation PSNR-Y (scale 1: L1) is kept besides

    c.validation = ConfigDict()
    c.validation.every = 5000  # 0 = never; each is saved, too
    c.validation.path = ""  # folder of HR images; "" = the held-out bundled photographs
    c.validation.target = ""  # as data.target, where path holds pairs
    c.validation.images = 10  # at most so many, the first by name
    c.validation.crop = 0  # measured on the centre square of this side (0 = whole images)
    c.validation.lpips = ""  # alex | vgg (after `srgan convert lpips`) or a weights file of it; "" = not measured
    return c.lock()  # an experiment that sets a field which is not here is refused
