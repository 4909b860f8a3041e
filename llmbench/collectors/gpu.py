from llmbench import plugins


class Gpu:
    class Options(plugins.Options):
        pass
